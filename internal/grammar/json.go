package grammar

// JSON returns the grammar of a JSON object, in GBNF: what OpenAI's json_object promises. Objects and arrays nest without bound;
// between two tokens stand at most a space or a line break with its indentation, and numbers have a bounded number of digits,
// so that a model cannot go on for ever where nothing is said. Surrogates are escaped in pairs, so a text is valid anywhere.
func JSON() string { return jsonGrammar }

const jsonGrammar = `root ::= object
object ::= "{" ws ( member ( "," ws member )* )? "}"
member ::= string ws ":" ws value ws
array ::= "[" ws ( value ws ( "," ws value ws )* )? "]"
value ::= object | array | string | number | "true" | "false" | "null"
string ::= "\"" ( [^"\\\x00-\x1F\x7F] | "\\" ( ["\\/bfnrt] | "u" unit ) )* "\""
unit ::= [0-9a-cefA-CEF] hex{3} | [dD] ( [0-7] hex{2} | [89abAB] hex{2} "\\u" [dD] [c-fC-F] hex{2} )
hex ::= [0-9a-fA-F]
number ::= "-"? ( "0" | [1-9] [0-9]{0,15} ) ( "." [0-9]{1,16} )? ( [eE] [-+]? [0-9]{1,3} )?
ws ::= ( " " | "\n" [ \t]{0,20} )?
`
