package optimize

import _ "embed"

// Text is what qualities are measured on where nobody has a better one: English prose of several kinds, written for this purpose.
//
//go:embed text.txt
var Text string

// LeastText is the least number of tokens that a quality is measured on.
const LeastText = 256
