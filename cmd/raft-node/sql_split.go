package main

import "strings"

// splitStatements returns the statements in text that have ended, and what follows
// them: "" if that is only space and comments that have ended. As in SQLite's own
// shell, a ';' in a literal, a name in quotes or a comment ends nothing.
func splitStatements(text string) (statements []string, rest string) {
	begin, blank := 0, true
	for i := 0; i < len(text); {
		n := tokenLength(text[i:])
		switch {
		case text[i] == ';':
			if !blank {
				statements = append(statements, strings.TrimSpace(text[begin:i+1]))
			}
			begin, blank = i+1, true
		case isComment(text[i:]):
			if text[i] == '/' && (n < len("/**/") || !strings.HasSuffix(text[i:i+n], "*/")) {
				blank = false // it goes on in the next line
			}
		case strings.IndexByte(" \t\r\n", text[i]) < 0:
			blank = false
		}
		i += n
	}
	if blank {
		return statements, ""
	}
	return statements, text[begin:]
}

func isComment(s string) bool { return strings.HasPrefix(s, "--") || strings.HasPrefix(s, "/*") }

// tokenLength is the length of the comment, literal or name in quotes that s begins
// with, to its end or that of s; 1 for anything else.
func tokenLength(s string) int {
	var end string
	switch {
	case strings.HasPrefix(s, "--"):
		end = "\n"
	case strings.HasPrefix(s, "/*"):
		end = "*/"
	case s[0] == '\'', s[0] == '"', s[0] == '`':
		end = s[:1] // two of them are one within, and two literals here: the same
	case s[0] == '[':
		end = "]"
	default:
		return 1
	}
	skip := min(len(end), 2)
	if i := strings.Index(s[skip:], end); i >= 0 {
		return skip + i + len(end)
	}
	return len(s)
}
