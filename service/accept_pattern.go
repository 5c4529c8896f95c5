package service

import (
	"regexp"
	"regexp/syntax"
	"unicode"
)

// matcher tells whether a text fits a pattern of the contract. Those of ids and names say
// for each place which characters may stand there, as in ^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$.
// Such a one becomes tables: for an id of 36 bytes a regular expression takes a
// microsecond, of the 100 that a task's whole life takes.
func matcher(pattern string) (func(string) bool, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	var p places
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || !p.read(parsed) {
		return re.MatchString, nil
	}
	return p.match, nil
}

// charset has the characters that may stand at a place.
type charset [unicode.MaxASCII + 1]bool

// places are those of a text. The last ones, beyond min, may be missing; all of them if
// the text may be empty.
type places struct {
	all   []*charset
	min   int
	empty bool
}

func (p *places) match(text string) bool {
	if len(text) < p.min || len(text) > len(p.all) {
		return p.empty && text == ""
	}
	for i := range len(text) {
		if text[i] > unicode.MaxASCII || !p.all[i][text[i]] {
			return false
		}
	}
	return true
}

// read reports whether an expression is of that kind.
func (p *places) read(re *syntax.Regexp) bool {
	if re.Op != syntax.OpConcat || len(re.Sub) < 2 || re.Sub[0].Op != syntax.OpBeginText || re.Sub[len(re.Sub)-1].Op != syntax.OpEndText {
		return false
	}
	body := re.Sub[1 : len(re.Sub)-1]
	if len(body) == 1 && body[0].Op == syntax.OpQuest { // ^(…)?$
		p.empty = true
		body = body[0].Sub
	}
	for len(body) == 1 && (body[0].Op == syntax.OpCapture || body[0].Op == syntax.OpConcat) {
		body = body[0].Sub
	}
	for i, part := range body {
		if !p.add(part, i == len(body)-1) {
			return false
		}
	}
	return true
}

// add adds the places of a part. Only the last may be of various lengths.
func (p *places) add(re *syntax.Regexp, last bool) bool {
	switch {
	case re.Flags&syntax.FoldCase != 0:
		return false
	case re.Op == syntax.OpLiteral:
		for _, r := range re.Rune {
			if !p.addClass([]rune{r, r}, 1, 1) {
				return false
			}
		}
		return true
	case re.Op == syntax.OpCharClass:
		return p.addClass(re.Rune, 1, 1)
	case re.Op == syntax.OpRepeat && re.Sub[0].Op == syntax.OpCharClass && re.Max >= 0 && (last || re.Min == re.Max):
		return p.addClass(re.Sub[0].Rune, re.Min, re.Max)
	}
	return false
}

// addClass adds a class of characters, given as pairs of its first and last ones.
func (p *places) addClass(pairs []rune, least, most int) bool {
	class := &charset{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] > unicode.MaxASCII {
			return false
		}
		for r := pairs[i]; r <= pairs[i+1]; r++ {
			class[r] = true
		}
	}
	for range most {
		p.all = append(p.all, class)
	}
	p.min += least
	return true
}
