package chat

// trie is a set of strings that is searched byte by byte. Node 0 is the root.
type trie []trieNode

type trieNode struct {
	next map[byte]int
	// end says that a member ends here.
	end bool
}

func newTrie(members []string) trie {
	t := trie{{}}
	for _, m := range members {
		at := 0
		for i := range len(m) {
			next, ok := t[at].next[m[i]]
			if !ok {
				next = len(t)
				t = append(t, trieNode{})
				if t[at].next == nil {
					t[at].next = map[byte]int{}
				}
				t[at].next[m[i]] = next
			}
			at = next
		}
		t[at].end = true
	}
	return t
}

// longest is the length of the longest member that s begins with, 0 without one.
func (t trie) longest(s string) (n int) {
	at := 0
	for i := range len(s) {
		next, ok := t[at].next[s[i]]
		if !ok {
			return n
		}
		at = next
		if t[at].end {
			n = i + 1
		}
	}
	return n
}
