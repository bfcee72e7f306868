package server

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"aim/llama"
)

// props answers GET /props: what a client may know about the server, under llama-server's names. The owner's modulation is
// not among it.
type props struct {
	Model        string          `json:"model_alias"`
	File         string          `json:"model_path,omitempty"`
	Build        string          `json:"build_info,omitempty"`
	ChatTemplate string          `json:"chat_template"`
	Slots        int             `json:"total_slots"`
	Defaults     propsDefaults   `json:"default_generation_settings"`
	Modalities   propsModality   `json:"modalities"`
	Features     map[string]bool `json:"features"`
}

type propsDefaults struct {
	Context int `json:"n_ctx"`
	// Params are the fields of a request whose default is a value.
	Params map[string]any `json:"params"`
}

type propsModality struct {
	Vision bool `json:"vision"`
	Audio  bool `json:"audio"`
}

// about serves a request without a body: tell answers it for the model in ?model= or the first one.
func (s *Server) about(tell func(*gin.Context, *served)) gin.HandlerFunc {
	return func(c *gin.Context) {
		m, err := s.acquire(recordOf(c), c.Query("model"))
		if err != nil {
			s.fail(c, err)
			return
		}
		tell(c, m)
	}
}

// showProps serves GET /props.
func (s *Server) showProps(c *gin.Context, m *served) {
	size := m.Engine.Config()
	p := props{
		Model: m.ID, File: m.Facts.File, Build: s.build, Slots: size.Slots, Defaults: propsDefaults{m.context(), map[string]any{}},
		Features: map[string]bool{
			"chat": m.Template != nil, "embeddings": m.Embedder != nil, "tools_in_template": m.Template != nil && m.Template.KnowsTools(),
		},
	}
	for _, f := range bodyOf(inChat) {
		if f.def != nil {
			p.Defaults.Params[f.name] = f.def
		}
	}
	if m.Template != nil && !m.NoTemplate {
		p.ChatTemplate = m.Template.Source()
	}
	writeJSON(c, http.StatusOK, p)
}

// tokenizerInfo answers GET /tokenizer_info, as evaluation harnesses ask vLLM for it.
type tokenizerInfo struct {
	BOS          *string `json:"bos_token"`
	EOS          *string `json:"eos_token"`
	ChatTemplate *string `json:"chat_template"`
	Max          int     `json:"model_max_length"`
}

// showTokenizer serves GET /tokenizer_info.
func (s *Server) showTokenizer(c *gin.Context, m *served) {
	info := tokenizerInfo{orNull(m.BOS), orNull(m.EOS), nil, m.context()}
	if m.Template != nil && !m.NoTemplate {
		info.ChatTemplate = orNull(m.Template.Source())
	}
	writeJSON(c, http.StatusOK, info)
}

// slotInfo is an entry of GET /slots. It tells how far a slot is and nothing about what it works on: prompts are their callers'.
type slotInfo struct {
	ID         int  `json:"id"`
	Context    int  `json:"n_ctx"`
	Processing bool `json:"is_processing"`
	// Prompt counts the tokens of the prompt, Past those that are computed and Decoded those of the answer; 0 for those who do not administer the server.
	Prompt  int `json:"n_prompt_tokens"`
	Past    int `json:"n_past"`
	Decoded int `json:"n_decoded"`
}

// showSlots serves GET /slots. With ?fail_on_no_slot=1 it is 503 where all are taken.
func (s *Server) showSlots(c *gin.Context, m *served) {
	list, free := []slotInfo{}, false
	admin := recordOf(c).grant.Admin
	for i, slot := range m.Engine.Slots() {
		if !admin { // others' lengths and speeds are no business of a key's
			slot = llama.SlotStats{Busy: slot.Busy}
		}
		list = append(list, slotInfo{i, m.Engine.Config().Context, slot.Busy, slot.Prompt, slot.Cached, slot.Completion})
		free = free || !slot.Busy
	}
	if c.Query("fail_on_no_slot") != "" && !free {
		s.fail(c, &apiError{
			status: http.StatusServiceUnavailable, message: "all slots are taken", kind: typeUnavailable, code: "no_slot", retryAfter: 5,
		})
		return
	}
	writeJSON(c, http.StatusOK, list)
}
