package llama

// mailbox carries an answer from the engine to its reader without the engine ever waiting: the buffer of one parcel
// lets it leave what it has, and it adds to a parcel that has not been fetched.
type mailbox chan parcel

// parcel is what a reader finds when it looks.
type parcel struct {
	deltas []Delta
	// err ends the answer, after the deltas.
	err error
}

func newMailbox() mailbox { return make(mailbox, 1) }

// put adds to the box. Only one goroutine may put: it has just emptied the box, so the send never blocks.
func (m mailbox) put(d Delta, err error) {
	var p parcel
	select {
	case p = <-m:
	default:
	}
	if err == nil {
		p.deltas = append(p.deltas, d)
	} else {
		p.err = err
	}
	m <- p
}
