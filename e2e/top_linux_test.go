package e2e

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTopAtATerminal(t *testing.T) {
	c := newCluster(t, 1)
	c.addAgent("worker-1", 3)
	env := append(cleanEnv(), "XDG_CONFIG_HOME="+t.TempDir(), "TERM=xterm")
	s := newScreen(t, env, "top", "--server", c.servers())
	s.expect("\x1b[?1049h") // the alternate screen
	s.expect("\x1b[1mNODE")
	s.expect("worker-1")
	s.expect("0/3")
	c.submit("a", "sh", "-c", "read -r _ <&-; exec sleep 60")
	s.expect("1/3") // told by the stream, or read again
	if err := unix.IoctlSetWinsize(int(s.keys.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 4, Col: 20}); err != nil {
		t.Fatal(err)
	}
	s.expect("lines more")
	s.press("q")
	s.expect("\x1b[?1049l")
	s.ends()
}

func TestTerminalsWithoutColours(t *testing.T) {
	c := newCluster(t, 1)
	c.addAgent("worker-1", 3)
	env := append(cleanEnv(), "XDG_CONFIG_HOME="+t.TempDir(), "TERM=xterm", "NO_COLOR=1")
	s := newScreen(t, env, "node", "list", "--watch", "--server", c.servers())
	if text := s.expect("worker-1"); strings.Contains(text, "\x1b[1m") {
		t.Errorf("colours in spite of NO_COLOR: %q", text)
	}
	s.press("\x03")
	s.ends()
}

func TestMapAtATerminal(t *testing.T) {
	c := newCluster(t, 1)
	c.addAgent("worker-1", 3)
	env := append(cleanEnv(), "XDG_CONFIG_HOME="+t.TempDir(), "TERM=xterm")
	s := newScreen(t, env, "map", "--server", c.servers(), "--file", "testdata/lines.txt", "--", "echo", "line")
	s.expect("[========================] 3 of 3 tasks")
	s.ends()
}
