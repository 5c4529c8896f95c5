package agent

import "testing"

func TestParseProc(t *testing.T) {
	tests := []struct {
		stat string
		want proc
		ok   bool
	}{
		{"7 (sh) S 1 7 7 0 -1", proc{pid: 7, parent: 1, group: 7}, true},
		{"7 (a) b (c)) Z 12 9 7 0", proc{pid: 7, parent: 12, group: 9, zombie: true}, true},
		{"7 (sh", proc{}, false},
		{"7 (sh) S", proc{}, false},
	}
	for _, tt := range tests {
		if got, ok := parseProc(7, []byte(tt.stat)); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q: got %+v, %v", tt.stat, got, ok)
		}
	}
}
