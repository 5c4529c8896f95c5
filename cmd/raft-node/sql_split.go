package main

import "strings"

// splitStatements returns the statements in text that have ended, and what follows
// them: "" if that is only space and comments that have ended. As in SQLite's own
// shell, a ';' in a literal, a name in quotes or a comment ends nothing.
func splitStatements(text string) (statements []string, rest string) {
	begin := -1 // of the statement that has not ended, if there is one
	for i := 0; i < len(text); {
		n := tokenLength(text[i:])
		switch {
		case text[i] == ';':
			if begin >= 0 {
				statements = append(statements, text[begin:i+1])
			}
			begin = -1
		case begin < 0 && !isBlank(text[i:i+n]):
			begin = i
		}
		i += n
	}
	if begin < 0 {
		return statements, ""
	}
	return statements, text[begin:]
}

// isBlank reports whether a token is space, or a comment that has ended.
func isBlank(token string) bool {
	if strings.HasPrefix(token, "/*") {
		return len(token) >= len("/**/") && strings.HasSuffix(token, "*/")
	}
	return strings.HasPrefix(token, "--") || strings.TrimSpace(token) == ""
}

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
