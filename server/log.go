package server

import "log/slog"

// speaker is a reply that knows what was said.
type speaker interface{ said() []string }

// said are the texts of the choices.
func (g *gathered) said() []string {
	list := make([]string, len(g.answers))
	for i, a := range g.answers {
		list[i] = a.text.String()
	}
	return list
}

// logText logs what was asked and answered, where the owner wants that.
func (s *Server) logText(id string, c *call, r reply) {
	asked := []string{c.text}
	if c.text == "" {
		asked = asked[:0]
		for _, p := range c.prompts {
			var text []byte
			for _, t := range p.tokens {
				text = append(text, c.model.Engine.Model().Piece(t)...)
			}
			asked = append(asked, validUTF8(text))
		}
	}
	var said []string
	if r, ok := r.(speaker); ok {
		said = r.said()
	}
	s.log.Info("text", slog.String("request", id), slog.Any("prompts", asked), slog.Any("answers", said))
}
