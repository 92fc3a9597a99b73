package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"
)

const (
	// DefaultListen is the address a broker listens on when the user names none: the one Kafka clients try by default.
	DefaultListen = "127.0.0.1:9092"
	// DefaultRetentionInterval is the time between two checks of what retention allows to be removed.
	DefaultRetentionInterval = time.Minute
	// DefaultSegmentBytes is the size in bytes at which a partition's log starts a new file. Space comes back a file at a
	// time, and a start reads one file of every partition at once, so it is well below Kafka's 1 GiB.
	DefaultSegmentBytes = 32 << 20
	// MaxMessageBytes is the largest record batch in bytes that the broker takes where the topic sets no max.message.bytes:
	// a record of 10 MiB, the readers' limit, and room for its key, headers and framing.
	MaxMessageBytes = 12 << 20
)

// Options says where a broker lives. DataDir and Listen are required.
type Options struct {
	// DataDir is the directory that holds the broker's identity and log. It is created with mode 0700 when absent.
	DataDir string
	// Listen is HOST:PORT. HOST is a loopback address or "localhost"; port 0 takes a free one, which Addr reports.
	Listen string
	// Fsync makes the broker call fsync for every batch before it acknowledges it. Without it an acknowledged record
	// survives the death of the process, but not of the machine.
	Fsync bool
	// Logger receives the broker's log; nil discards it.
	Logger *slog.Logger
	// RetentionInterval is the time between two retention checks; 0 means DefaultRetentionInterval.
	RetentionInterval time.Duration
	// SegmentBytes is the file size in bytes for topics that set no segment.bytes; 0 means DefaultSegmentBytes.
	SegmentBytes int64

	syncFile     func(*os.File) error // (*os.File).Sync unless a test wants another
	requestBytes int64                // maxGatheredBytes unless a test wants another
}

// Validate reports every option that cannot work, by name and value. It does no I/O.
func (o Options) Validate() error {
	var errs []error
	if o.DataDir == "" {
		errs = append(errs, errors.New("data directory is empty; name a directory for the broker's log"))
	}
	if _, err := loopbackAddr(o.Listen); err != nil {
		errs = append(errs, err)
	}
	if o.RetentionInterval < 0 {
		errs = append(errs, fmt.Errorf("retention interval %v is negative; want a positive duration", o.RetentionInterval))
	}
	if o.SegmentBytes < 0 || o.SegmentBytes > 1<<30 {
		errs = append(errs, fmt.Errorf("segment size %d is out of range; want 1 to %d bytes", o.SegmentBytes, 1<<30))
	}
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.RetentionInterval == 0 {
		o.RetentionInterval = DefaultRetentionInterval
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.syncFile == nil {
		o.syncFile = (*os.File).Sync
	}
	if o.requestBytes == 0 {
		o.requestBytes = maxGatheredBytes
	}
	return o
}

// CheckListen reports why the broker cannot listen on a HOST:PORT, without binding it.
func CheckListen(listen string) error {
	_, err := loopbackAddr(listen)
	return err
}

// loopbackAddr returns the address to bind for a HOST:PORT, or an error that names it. The broker knows no users and no
// encryption, so no option opens it to the network: any other host is refused rather than resolved.
func loopbackAddr(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("broker listen address %q is not HOST:PORT; want a loopback address such as %s", listen, DefaultListen)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("broker listen address %q has port %q; want 0 to 65535", listen, port)
	} else {
		port = strconv.FormatUint(n, 10)
	}
	if host == "localhost" {
		return net.JoinHostPort("127.0.0.1", port), nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsLoopback() {
		return "", fmt.Errorf("broker listen address %q is not on loopback; the embedded broker has no security and listens on "+
			"127.0.0.0/8, ::1 or localhost only (use an Apache Kafka cluster to serve other machines)", listen)
	}
	return net.JoinHostPort(ip.String(), port), nil
}
