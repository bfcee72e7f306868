package bench

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// Prompts makes texts that are the same for the same seed and key, and for different ones differ from their first words on,
// so that no server finds the beginning of one in another.
type Prompts struct {
	// Seed is a number of the run.
	Seed uint64
	// WordsPerToken is how many of our words a token is; 0 is 1. [Client.Probe] measures it.
	WordsPerToken float64
}

// Text is a text of about so many tokens, at least one word.
func (p Prompts) Text(tokens int, key ...any) string {
	return p.words(int(math.Round(float64(tokens)*cmp.Or(p.WordsPerToken, 1))), key...)
}

// words is a text of n ≥ 1 words, in sentences of 6 to 13.
func (p Prompts) words(n int, key ...any) string {
	r := rand.New(rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%d %q", p.Seed, fmt.Sprintln(key...)))))
	var b strings.Builder
	left := 6 + r.IntN(8)
	for i := range max(n, 1) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(vocabulary[r.IntN(len(vocabulary))])
		if left--; left == 0 {
			b.WriteByte('.')
			left = 6 + r.IntN(8)
		}
	}
	return b.String()
}

// vocabulary are common words, each one token in the usual vocabularies.
var vocabulary = strings.Fields(`
about above across after again against air all almost along also always among animal answer any area around art ask away
back ball bank base be beautiful because bed before begin behind below best better between big bird black blue board boat
body book both box boy bread bring brother brown build building business but buy call can car care carry case cat cause
center century change child children church city class clean clear close cloth cold color come common company complete
cook cool corn corner could country course cover cross cut dark daughter day dead deal deep develop did difference dinner
direction distance doctor dog door down draw dream dress drive dry during each early earth east eat egg eight either else
end engine enough even evening event ever every example experience eye face fact fall family famous far farm fast father
feel feet field fight figure fill final find fine finger finish fire first fish five floor flow flower fly follow food foot
force forest form forward four free friend from front fruit full game garden gas general girl give glass goes gold good
government grass great green ground group grow half hand hard has hat head hear heart heat heavy help here high hill history
hold home hope horse hot hour house how human hundred hunt husband ice idea important inch industry inside iron island
job join jump just keep key kind king kitchen knew know lake land language large last late laugh law lead learn leave left
leg less letter level life lift light like line list listen little live local long look lost love low machine made main
make man many map mark market matter mean measure meat meet member men metal method middle might mile milk million mind
minute miss modern moment money month moon more morning most mother mountain mouth move much music must name nation natural
near need never new next night nine noise north nose note nothing notice noun now number object ocean off office often oil
old once only open opposite order other out outside over own page paint paper part party pass past path pattern people
perhaps person picture piece place plain plan plane plant play point poor position possible power present president press
pretty probably problem process produce product proper public pull push quick quiet quite race rain ran reach read ready
real reason record red region remember report rest result return rich ride right ring rise river road rock roll room root
round rule run safe salt same sand save say school science sea season seat second see seed seem self sell send sense
sentence serve set seven several shape share sharp she ship shoe shop short should shoulder show side sign silver similar
simple since sing sister sit six size skin sky sleep slow small snow social soft soil soldier some son song soon sort sound
south space speak special spell spend spring square stand star start state station stay step still stone stood stop store
story straight strange stream street strong student study subject such sugar summer sun support sure surface swim system
table tail take talk tall teach teacher team tell temperature ten test than thank that their them then there these they thick
thin thing think third this those though thought thousand three through time tire today together told tone too took top
total touch toward town trade train travel tree triangle trip trouble true try turn twenty two type under unit until up upon
use usual valley value vary very view village visit voice wait walk wall want war warm wash watch water wave way wear weather
week weight well went were west what wheel when where which while white whole why wide wife wild will wind window winter
wish with woman wonder wood word work world would write wrong yard year yellow yes yet young`)
