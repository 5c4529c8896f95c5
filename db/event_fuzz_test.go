package db

import (
	"testing"

	"github.com/raft-control-plane/control-plane"
)

// FuzzParseCursor takes only what a watch wrote.
func FuzzParseCursor(f *testing.F) {
	for _, s := range []string{"", "0", "0-0", "12-3", "12", "012-3", "-1-2", "12-", "12-3-4", " 12-3", "9223372036854775807-2147483647", "9223372036854775808-0", "1-2147483648"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCursor(s)
		switch {
		case err == nil && s != "0" && c.String() != s:
			t.Errorf("%q is read as %+v, which is written as %q", s, c, c)
		case err == nil && c.Ordinal < 0:
			t.Errorf("%q is read as %+v", s, c)
		case err != nil && controlplane.CodeOf(err) != controlplane.CodeInvalid:
			t.Errorf("%q: %v", s, err)
		}
	})
}
