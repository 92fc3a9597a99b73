package attack

import (
	"flag"
	"net"
	"os"
	"testing"
	"time"

	_ "github.com/dashflow/dashstream/internal/cli" // what the program is made of, for the test cache
	"github.com/dashflow/dashstream/internal/testprocess"
)

var attackFlag = flag.Bool("attack", false, "run the attacks, of about a minute")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testprocess.Main(m))
}

const (
	mib = 1 << 20
	// What the documentation's table of limits adds up to: the hot tail, the history
	// cache, large frames, headers, and the largest message while it is decoded. The
	// collector lets the heap grow to twice of what is in use.
	withinLimits = 2 * (64 + 64 + 64 + 32 + 120) * mib
	// slower is by how much the client that behaves may have to wait longer: it shares
	// two processors with those who attack, and with whatever else runs here.
	slower = 10
	// soon is what any machine may need at any time; one that is busy with other things
	// tells by its worst delay without an attack.
	soon  = 25 * time.Millisecond
	tries = 5
)

// attack is what an attacker does.
type attack struct {
	name string
	// most is how much the program may spend on one unit, as a multiple of what it
	// spends on the plainest request.
	most float64
	run  func(*attacker)
}

func TestAttacks(t *testing.T) {
	if !*attackFlag {
		t.Skip("the attacks take a minute: run them with -attack, or make attacks")
	}
	s := testprocess.Up(t, t.TempDir())
	c := startCalm(t, s)
	site := byte(10)
	attackOnce := func(t *testing.T, at attack) (cost time.Duration, d delay) {
		t.Helper()
		site++
		a := &attacker{t: t, server: s, site: net.IPv4(127, 0, 1, site)}
		before := usageOf(t, s.PID)
		d = c.during(func() { at.run(a) })
		return (usageOf(t, s.PID).cpu - before.cpu) / time.Duration(a.units), d
	}
	start := usageOf(t, s.PID)
	running := goroutines(t, s)
	// What the client that behaves costs is in it, and in what it is compared with.
	plain, _ := attackOnce(t, attack{run: requests(10_000, "/livez", 200)})
	plain = max(plain, time.Microsecond)
	t.Logf("a plain request costs %v", plain)
	var worst delay
	for _, at := range attacks {
		t.Run(at.name, func(t *testing.T) {
			for try := 1; ; try++ {
				quiet := c.during(func() {})
				worst = delay{max(worst.median, quiet.median, soon), max(worst.p99, quiet.p99, soon)}
				cost, d := attackOnce(t, at)
				times := float64(cost) / float64(plain)
				now := usageOf(t, s.PID)
				t.Logf("costs %v each, %.0f plain requests; delay %v, before %v; memory %d MiB, at most %d", cost, times, d, quiet, now.rss/mib, now.peak/mib)
				if now.peak > start.rss+withinLimits {
					t.Fatalf("took %d MiB, of which the limits allow %d beside %d at the start", now.peak/mib, withinLimits/mib, start.rss/mib)
				}
				late := d.median > slower*worst.median || d.p99 > slower*worst.p99
				if !late && times <= at.most || t.Failed() {
					break
				}
				if try == tries {
					t.Fatalf("costs as much as %.0f plain requests, want at most %.0f; records came after %v (median/p99), without an attack %v at worst", times, at.most, d, worst)
				}
			}
			testprocess.Eventually(t, "what the attacker held is given back", func() error {
				return heldMore(t, s, start.descriptors, running)
			})
		})
	}
	c.settle()
}
