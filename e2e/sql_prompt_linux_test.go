package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// screen is a pseudo-terminal with a program on it.
type screen struct {
	t    *testing.T
	keys *os.File // what is written here is typed
	cmd  *exec.Cmd
	done chan struct{}

	mu   sync.Mutex
	text string // printed and not yet expected
}

func newScreen(t *testing.T, env []string, args ...string) *screen {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(keys.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 200}); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	s := &screen{t: t, keys: keys, cmd: exec.Command(raftNode, args...), done: make(chan struct{})}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr, s.cmd.Env = tty, tty, tty, env
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go s.read()
	go func() {
		_ = s.cmd.Wait()
		close(s.done)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.done
		_ = keys.Close()
	})
	return s
}

func (s *screen) read() {
	b := make([]byte, 4096)
	for {
		n, err := s.keys.Read(b)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.text += string(b[:n])
		s.mu.Unlock()
	}
}

func (s *screen) press(keys string) {
	s.t.Helper()
	if _, err := s.keys.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// expect waits until text is printed, and returns what was printed before it.
func (s *screen) expect(text string) (before string) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		s.mu.Lock()
		i := strings.Index(s.text, text)
		if i >= 0 {
			before, s.text = s.text[:i], s.text[i+len(text):]
		}
		now := s.text
		s.mu.Unlock()
		if i >= 0 {
			return before
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the terminal does not show %q, but\n%s", text, now)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// editing reports whether the program reads each key by itself.
func (s *screen) editing() bool {
	s.t.Helper()
	state, err := unix.IoctlGetTermios(int(s.keys.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return state.Lflag&unix.ICANON == 0
}

func (s *screen) ends() {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatal("the program does not end")
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("exit code %d", code)
	}
	if s.editing() {
		s.t.Error("the terminal is left in raw mode")
	}
}

func TestSQLPromptAtATerminal(t *testing.T) {
	c := newCluster(t, 1)
	c.submit("a", "true")
	env := append(cleanEnv(), "XDG_STATE_HOME="+t.TempDir(), "TERM=xterm")
	s := newScreen(t, env, "sql", "--server", c.servers())
	s.expect("sql> ")
	s.press("SELECT id, status\r")
	s.expect("...> ")
	s.press("FROM tasks;\r")
	s.expect("a   PENDING\r\n")
	s.expect("sql> ")
	s.press(".mode csv\r")
	s.expect("sql> ")
	s.press("SELECT 40 + 2 AS n, 'x,y' AS t;\r")
	s.expect("n,t\r\n42,\"x,y\"\r\n")
	s.expect("sql> ")
	s.press(".tables\r")
	s.expect("v_recent_failures,view")
	s.expect("sql> ")
	s.press("SELECT gone\x03")
	s.expect("sql> ")
	s.press("SELECT 'kept';\r")
	s.expect("\r\nkept\r\n")
	s.expect("sql> ")

	// Ctrl-C while a statement runs ends that and no more.
	s.press("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n;\r")
	until(t, "the statement runs", func() bool { return !s.editing() })
	s.press("\x03")
	s.expect("error: interrupted")
	s.expect("sql> ")
	s.press("\x04")
	s.ends()

	// What was typed is there the next time.
	s = newScreen(t, env, "sql", "--server", c.servers(), "-o", "json")
	s.expect("sql> ")
	s.press("\x1b[A\x1b[A\r") // the newest is the one that was stopped
	s.expect(`"kept"`)
	s.expect("sql> ")
	s.press(".quit\r")
	s.ends()
}
