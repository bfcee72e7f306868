package server

// utility reads the utility modulation that a request asks for.
func (o *object) utility() *float64 {
	sigma := o.number("sigma", 0)
	o.require("sigma")
	o.closed()
	return &sigma
}
