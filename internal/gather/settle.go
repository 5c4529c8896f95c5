package gather

import "runtime"

// settled is how many times in a row nothing was added until nothing more is awaited, and
// longestSettling how often others are let go first at most.
const (
	settled         = 3
	longestSettling = 32
)

// Settle lets goroutines that are ready to run go first, for as long as that makes more
// wait. Callers who have just been answered often ask again at once: they then go together
// with the rest, in one request of twice the size, which costs little more than either half.
// It is no wait: where nothing is ready to run it takes less than a microsecond.
func Settle(waiting func() int) {
	n := waiting()
	for calm, i := 0, 0; calm < settled && i < longestSettling; i++ {
		runtime.Gosched()
		calm++
		if now := waiting(); now != n {
			n, calm = now, 0
		}
	}
}
