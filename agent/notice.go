package agent

import (
	"log/slog"
	"os"
	"strings"
	"time"
)

// noticeTime is how long a machine is taken to last whose notice does not say.
const noticeTime = 30 * time.Second

// notice looks for a file that says that the machine is about to be taken away.
// Whoever knows (a hook of the cloud, a loop that asks its metadata service) writes it.
type notice struct {
	file string
	log  *slog.Logger
	at   time.Time
}

// time is when the machine is taken away, the zero time while that is not known. Once
// known it stays: the file may be gone before the machine is.
func (n *notice) time() time.Time {
	if n.file == "" || !n.at.IsZero() {
		return n.at
	}
	text, err := os.ReadFile(n.file)
	if err != nil {
		return time.Time{}
	}
	if n.at, err = time.Parse(time.RFC3339, strings.TrimSpace(string(text))); err != nil || n.at.Year() < 1970 || n.at.Year() > 2098 {
		n.at = time.Now().Add(noticeTime)
	}
	n.log.Warn("the machine is about to be taken away: the node is drained", "at", n.at, "file", n.file)
	return n.at
}
