package main

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
)

// FuzzAmounts reads amounts of all kinds exactly, or not at all.
func FuzzAmounts(f *testing.F) {
	for _, s := range []string{"", "0", "1", "0.5", "0.0005", "2GiB", "512 MiB", "1.5kb", "1e3", "-1", "+1", "9223372036854775807", "9223372036854775808", "8388608TiB", "1.", ".5", "1GiBB", "1\n", "१", "0x10", "1_000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, c := range map[string]struct {
			parse func(string) (int64, error)
			by    int64
		}{"cores": {parseCPU, 1000}, "memory": {parseMemory, 0}, "price": {parsePrice, 1_000_000}} {
			n, err := c.parse(s)
			if err != nil {
				if !strings.HasPrefix(err.Error(), fmt.Sprintf("%q: ", s)) {
					t.Errorf("%s %q: %v", name, s, err)
				}
				continue
			}
			want, ok := new(big.Rat).SetString(strings.TrimSuffix(s, " "))
			if n < 0 || c.by != 0 && (!ok || want.Mul(want, big.NewRat(c.by, 1)).Cmp(big.NewRat(n, 1)) != 0) {
				t.Errorf("%s %q is read as %d", name, s, n)
			}
		}
	})
}

// FuzzMemoryRoundTrip reads what the tables show of whole units.
func FuzzMemoryRoundTrip(f *testing.F) {
	for _, n := range []int64{0, 1, 1023, 1024, 1 << 30, 3 << 40, 1 << 60, 1<<63 - 1} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		if n < 0 {
			return
		}
		text := memory(n)
		back, err := parseMemory(text)
		if err != nil { // what was rounded may be no whole number of bytes
			if !strings.Contains(text, ".") && n < 1<<62 {
				t.Errorf("%d is shown as %s: %v", n, text, err)
			}
			return
		}
		if diff := back - n; n < 1<<62 && (diff > n/16 || diff < -n/16) {
			t.Errorf("%d is shown as %s, which is %d", n, text, back)
		}
	})
}

// FuzzPairs keeps each pair, or says what is wrong.
func FuzzPairs(f *testing.F) {
	for _, s := range []string{"", "a=b", "a=b\na=c", "=x", "a", "a=\n=b", "a=b=c", "\n", "é=\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, lines string) {
		given := strings.Split(lines, "\n")
		pairs, err := parsePairs(given)
		if err != nil {
			return
		}
		if len(pairs) != len(given) {
			t.Errorf("%q are read as %q", given, pairs)
		}
		for _, g := range given {
			if k, v, _ := strings.Cut(g, "="); k == "" || pairs[k] != v {
				t.Errorf("%q are read as %q", given, pairs)
			}
		}
	})
}

// FuzzConfigFile reads any text as a configuration: settings of known names, or
// mistakes that name the file.
func FuzzConfigFile(f *testing.F) {
	for _, s := range []string{
		"", "server: http://a:1\n", "server: [a, b]\nlabel: {k: v}\n", "name:\n", "name: ~\n", "name: &x a\nserver: *x\n", "x: &x [*x]\n", "- a\n", "a: b: c", "name: a\nname: b\n",
		"{}", "name: !!binary aGk=\n", "<<: {name: a}\n", "? [a]\n: b\n", "name: {a: {b: c}}\n", "label: {a: b, a: c}\n", "%YAML 1.2\n---\nname: a\n---\nname: b\n", "name: |\n  a\n  b\n", "\xff\xfe", "label: {a}\n",
	} {
		f.Add(s)
	}
	known := knownKeys(newRoot(&app{}))
	f.Fuzz(func(t *testing.T, text string) {
		settings, err := parseFile("config.yaml", []byte(text), known)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "config.yaml:") && !strings.HasPrefix(line, "  ") {
					t.Errorf("%q does not name the file", line)
				}
			}
			return
		}
		for name, s := range settings {
			if s.node == nil || s.path != "config.yaml" {
				t.Errorf("%s is read as %+v", name, s)
			}
		}
	})
}

// FuzzAddresses takes an address for one of this machine only if it is.
func FuzzAddresses(f *testing.F) {
	for _, s := range []string{"", ":8080", "127.0.0.1:0", "localhost:80", "[::1]:80", "0.0.0.0:1", "a:b", "host:65536", "::1:80", "[::]:9", "127.1:80", "a:080", "a:+80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, address string) {
		c := &serveConfig{Listen: address, Join: []string{address}, Name: "m"}
		host, port, err := splitAddress(address)
		if err != nil {
			if c.checkAddresses() == nil || c.checkCluster() == nil {
				t.Errorf("%q is accepted: %v", address, err)
			}
			return
		}
		if port < 0 || port > 65535 {
			t.Errorf("%q has port %d", address, port)
		}
		if c.checkAddresses() == nil && !loopbackName(host) {
			t.Errorf("%q may be served without a token", address)
		}
	})
}

// Statements are the same whether they come at once or line by line.
func FuzzSplitStatements(f *testing.F) {
	for _, text := range []string{"SELECT 1; SELECT 2", "a -- ;\n;", "/* ; */ 'a;''b' ; \"c;\"", "[x;];`y;`", "/*/ ; */;", "'\n;\n';"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		whole, left := splitStatements(text + "\n")
		var parts []string
		rest := ""
		for line := range strings.SplitSeq(text, "\n") {
			var some []string
			some, rest = splitStatements(rest + line + "\n")
			parts = append(parts, some...)
		}
		if strings.Join(whole, "\x00") != strings.Join(parts, "\x00") || strings.TrimSpace(left) != strings.TrimSpace(rest) {
			t.Errorf("%q: at once %q and %q, by lines %q and %q", text, whole, left, parts, rest)
		}
		for _, s := range whole {
			if again, rest := splitStatements(s); len(again) != 1 || again[0] != s || rest != "" {
				t.Errorf("%q is split into %q and %q", s, again, rest)
			}
		}
	})
}
