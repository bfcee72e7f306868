package grammar

import (
	"errors"
	"strings"
	"testing"
)

func TestDialect(t *testing.T) {
	tests := []struct {
		name, gbnf string
		yes, no    []string
	}{
		{"literal", `root ::= "abc"`, []string{"abc"}, []string{"", "ab", "abcd", "abd"}},
		{"empty", `root ::= ""`, []string{""}, []string{"a"}},
		{"nothing after the sign", "root ::=\n", []string{""}, []string{"a"}},
		{"escapes", `root ::= "\n\t\r\\\"\x41\u00e9\U0001F600[\]"`, []string{"\n\t\r\\\"Aé😀[]"}, []string{"\n"}},
		{"class", `root ::= [a-cX\]\n-]`, []string{"a", "c", "X", "]", "\n", "-"}, []string{"d", "b-", ""}},
		{"class that begins with ]", `root ::= [\]a]`, []string{"]", "a"}, []string{"\\"}},
		{"negated", `root ::= [^a-z"]`, []string{"A", "é", "😀", "\x00"}, []string{"a", "\"", ""}},
		{"beyond ASCII", `root ::= [α-ω]+`, []string{"αβγω"}, []string{"a", "Α"}},
		{"dot", `root ::= . .`, []string{"ab", "é😀", "\n\n"}, []string{"a", "abc"}},
		{"star", `root ::= "ab"*`, []string{"", "ab", "abab"}, []string{"a", "aba"}},
		{"plus", `root ::= [0-9]+`, []string{"0", "123"}, []string{"", "a"}},
		{"maybe", `root ::= "a"? "b"`, []string{"b", "ab"}, []string{"a", "aab"}},
		{"exactly", `root ::= "a"{3}`, []string{"aaa"}, []string{"", "aa", "aaaa"}},
		{"at least", `root ::= "a"{2,}`, []string{"aa", "aaaaaaa"}, []string{"", "a"}},
		{"between", `root ::= "a"{1 , 3}`, []string{"a", "aa", "aaa"}, []string{"", "aaaa"}},
		{"none", `root ::= "a"{0} "b"`, []string{"b"}, []string{"ab"}},
		{"repetition of a repetition", `root ::= "a"{2}{1,2}`, []string{"aa", "aaaa"}, []string{"a", "aaa"}},
		{"repetition of what may be empty", `root ::= ("a"?){3,5} "b"`, []string{"b", "ab", "aaaaab"}, []string{"aaaaaab"}},
		{"alternatives bind last", `root ::= "a" "b" | "c"`, []string{"ab", "c"}, []string{"ac", "abc"}},
		{"an empty alternative", `root ::= | "a"`, []string{"", "a"}, []string{"aa"}},
		{"group over lines", "root ::= (\n \"a\" # one\n | \"b\"\n)\n \n", []string{"a", "b"}, []string{"ab"}},
		{"a line after |", "root ::= \"a\" |\n  \"b\"", []string{"a", "b"}, nil},
		{"rules", "root ::= item-1 (\",\" item-1)*\r\nitem-1 ::= [a-z]\r\n", []string{"a", "a,b"}, []string{"a,"}},
		{"recursion", `root ::= "(" root ")" | "x"`, []string{"x", "((x))"}, []string{"(x", "(x))"}},
		{"the last definition", "root ::= \"a\"\nroot ::= \"b\"", []string{"b"}, []string{"a"}},
		{"comments", "# first\nroot ::= \"#\" # last", []string{"#"}, nil},
		{"ambiguous", `root ::= ("a" | "aa" | "a" "a"?)* `, []string{"", "aaaaaaaa"}, []string{"ab"}},
		{"empty in the middle", "root ::= e e \"a\" e\ne ::= x? y*\nx ::= \"x\"\ny ::= \"y\"", []string{"a", "xyyxayy", "yxya"}, []string{"xxxa"}},
		{"loops of what may be empty", `root ::= (("a"* "b"*)* | "c"?)+`, []string{"", "abba", "cacb"}, []string{"d"}},
		{"counted within counted", `root ::= ("a"{1,2} "b"){2}`, []string{"abab", "aabab"}, []string{"ab", "aaabab", "ababab"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := mustParse(t, test.gbnf)
			for _, text := range test.yes {
				if !accepts(g, text) {
					t.Errorf("%q is not accepted", text)
				}
			}
			for _, text := range test.no {
				if accepts(g, text) {
					t.Errorf("%q is accepted", text)
				}
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	many := strings.Repeat("a", 5)
	tests := []struct {
		gbnf         string
		line, column int
		message      string
	}{
		{"", 1, 1, "no rule named root"},
		{"a ::= \"x\"", 1, 1, "no rule named root"},
		{"root ::= \"x\"\n  y ::= é", 2, 9, "expected an item or the end of the line, found 'é'"},
		{"root ::= thing", 1, 10, `rule "thing" is not defined`},
		{"root = \"x\"", 1, 6, "expected ::="},
		{"root ::= \"x", 1, 12, "found the end"},
		{"root ::= [x", 1, 12, "found the end"},
		{"root ::= (\"x\"", 1, 14, "expected an item or )"},
		{"root ::= \"\\q\"", 1, 12, "escape"},
		{"root ::= \"\\x4\"", 1, 14, "2 hexadecimal digits"},
		{"root ::= \"\\U00110000\"", 1, 13, "U+10FFFF"},
		{"root ::= []", 1, 10, "without members"},
		{"root ::= [z-a]", 1, 11, "ends before it starts"},
		{"root ::= *", 1, 10, "nothing stands before"},
		{"root ::= \"a\"{3,2}", 1, 13, "at least 3 and at most 2"},
		{"root ::= \"a\"{x}", 1, 14, "expected a number"},
		{"root ::= \"a\"{1;}", 1, 15, "expected , or }"},
		{"root ::= \"a\"{100001}", 1, 14, "at most 100000"},
		{"root ::= <[12]>", 1, 10, "by number"},
		{"root ::= root \"a\" | \"a\"", 1, 10, "left recursion"},
		{"root ::= \"a\"\nb ::= c? b\nc ::= \"c\"", 2, 10, "left recursion"},
		{"root ::= (\"a\"* root)", 1, 16, "left recursion"},
		{"root ::= a\na ::= b\nb ::= (\"x\" | a)", 3, 14, "left recursion"},
		{"root ::= a_b", 1, 11, "expected an item"},
		{"root ::= \"\xff\"", 1, 1, "not UTF-8"},
		{"root ::= " + strings.Repeat("(", MaxNesting+1), 1, 10 + MaxNesting, "at most 128 deep"},
		{"root ::= \"" + strings.Repeat(many, MaxText/5) + "\"", 1, 1, "bytes"},
	}
	for _, test := range tests {
		_, err := Parse(test.gbnf)
		var e *Error
		if !errors.As(err, &e) || e.Line != test.line || e.Column != test.column || !strings.Contains(e.Message, test.message) {
			t.Errorf("%.40q: %v, want line %d, column %d: %s", test.gbnf, err, test.line, test.column, test.message)
		}
	}
}
