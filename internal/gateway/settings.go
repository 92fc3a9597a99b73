package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/dashflow/dashstream/internal/httpserve"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/wire"
)

// Settings is what a user can set of the gateway. Start from
// [DefaultSettings]; see package settings for the tags.
type Settings struct {
	Listen string `name:"listen" envs:"DASHSTREAM_LISTEN" placeholder:"HOST:PORT" group:"Gateway" help:"Address of pages, API and metrics; port 0 takes a free one." unset:"WEBSOCKET_HOST:WEBSOCKET_PORT"`
	Host   string `name:"websocket-host" envs:"WEBSOCKET_HOST" placeholder:"HOST" group:"Gateway" help:"Address to listen on, where --listen is not set."`
	Port   int    `name:"websocket-port" envs:"WEBSOCKET_PORT" placeholder:"PORT" group:"Gateway" help:"Port to listen on, where --listen is not set." min:"0" max:"65535"`

	Token          settings.Secret `name:"token" envs:"DASHSTREAM_TOKEN" placeholder:"SECRET" group:"Gateway access" help:"Token that clients must show. Other users of the machine can see flags; prefer the variable or the file."`
	TokenFile      string          `name:"token-file" envs:"DASHSTREAM_TOKEN_FILE" placeholder:"PATH" group:"Gateway access" help:"File with the token that clients must show; it is read again when clients come."`
	Open           bool            `name:"open" envs:"DASHSTREAM_OPEN" group:"Gateway access" help:"Serve without a token beyond this machine: everybody who can connect reads everything."`
	AllowedOrigins []string        `name:"allowed-origins" envs:"DASHSTREAM_ALLOWED_ORIGINS" placeholder:"ORIGIN,..." group:"Gateway access" help:"Origins of other sites whose pages may connect; * allows all." unset:"the gateway's own page"`
	TrustedProxies Prefixes        `name:"websocket-trusted-proxy-ips" envs:"WEBSOCKET_TRUSTED_PROXY_IPS" placeholder:"CIDR,..." group:"Gateway access" help:"Proxies whose X-Forwarded-For tells the client's address."`

	MaxPayloadBytes     int              `name:"max-payload-bytes" envs:"WEBSOCKET_MAX_PAYLOAD_BYTES,DASHSTREAM_MAX_PAYLOAD_BYTES" placeholder:"BYTES" group:"Gateway limits" help:"Largest record, framed and decompressed; a larger one is shown as such." min:"1024" max:"104857600"`
	MaxConnections      int              `name:"websocket-max-connections" envs:"WEBSOCKET_MAX_CONNECTIONS" placeholder:"N" group:"Gateway limits" help:"Most clients at a time." min:"1" max:"1000000"`
	MaxConnectionsPerIP int              `name:"websocket-max-connections-per-ip" envs:"WEBSOCKET_MAX_CONNECTIONS_PER_IP" placeholder:"N" group:"Gateway limits" help:"Most clients at a time from one address." min:"1" max:"1000000"`
	SendTimeout         settings.Seconds `name:"websocket-send-timeout-secs" envs:"WEBSOCKET_SEND_TIMEOUT_SECS" placeholder:"SECONDS" group:"Gateway limits" help:"Time in which a client must take 64 KiB; one that does not is disconnected and may resume." min:"0.1" max:"300"`
	TailMiB             int              `name:"hot-tail-mib" envs:"DASHSTREAM_HOT_TAIL_MIB" placeholder:"MIB" group:"Gateway limits" help:"Memory for the newest records, shared by all clients." min:"1" max:"65536"`
	CacheMiB            int              `name:"history-cache-mib" envs:"DASHSTREAM_HISTORY_CACHE_MIB" placeholder:"MIB" group:"Gateway limits" help:"Memory for older records that clients resume from, shared by all clients." min:"1" max:"65536"`
}

// DefaultSettings returns the settings of a user who set nothing.
func DefaultSettings() Settings {
	d := DefaultConfig("")
	return Settings{
		Host: "127.0.0.1", Port: 3002,
		MaxPayloadBytes: wire.DefaultMaxBytes, MaxConnections: d.MaxConnections, MaxConnectionsPerIP: d.MaxConnectionsPerIP,
		SendTimeout: settings.Seconds(d.SendTimeout), TailMiB: int(d.Feed.TailBytes >> 20), CacheMiB: int(d.Feed.CacheBytes >> 20),
	}
}

// Addr returns the address to listen on.
func (s Settings) Addr() string {
	if s.Listen != "" {
		return s.Listen
	}
	return net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
}

// Validate reports every setting that cannot be used, before any I/O but the
// reading of the token's file.
func (s Settings) Validate() error {
	var errs []error
	if err := httpserve.ValidateAddr(s.Addr()); err != nil {
		// Whether an address that is none needs a token, nobody can say.
		bad := &settings.Error{Name: "DASHSTREAM_LISTEN", Value: s.Listen, Reason: err.Error()}
		if s.Listen == "" {
			bad.Name, bad.Value = "WEBSOCKET_HOST", s.Host
		}
		return bad
	}
	token, err := s.token()
	if err != nil {
		errs = append(errs, err)
	}
	if err == nil && token == "" && !s.Open && !httpserve.Loopback(s.Addr()) {
		errs = append(errs, fmt.Errorf("listening on %s, beyond this machine, needs a token: set DASHSTREAM_TOKEN or --token-file; or say with --open (DASHSTREAM_OPEN=true) that everybody may read everything", s.Addr()))
	}
	for _, o := range s.AllowedOrigins {
		if o != "*" && !strings.Contains(o, "://") {
			errs = append(errs, &settings.Error{Name: "DASHSTREAM_ALLOWED_ORIGINS", Value: o, Reason: "not an origin", Allowed: "SCHEME://HOST[:PORT] or *"})
		}
	}
	return errors.Join(errs...)
}

func (s Settings) token() (string, error) {
	bad := &settings.Error{Name: "DASHSTREAM_TOKEN"}
	// A line break at its end is that of the file that it came from; nobody can send it in a header.
	token := strings.TrimSpace(s.Token.Reveal())
	refuse := func(format string, args ...any) (string, error) {
		bad.Reason = fmt.Sprintf(format, args...)
		return "", bad
	}
	if s.Token.IsSet() && token == "" {
		return refuse("is blank")
	}
	if s.TokenFile != "" {
		bad.Name, bad.Value = "DASHSTREAM_TOKEN_FILE", s.TokenFile
		if s.Token.IsSet() {
			return refuse("DASHSTREAM_TOKEN is set too; want one of them")
		}
		b, err := readTokenFile(s.TokenFile)
		if err != nil {
			bad.Err = err
			if path, ok := errors.AsType[*os.PathError](err); ok {
				err = path.Err // the error says the path already
			}
			return refuse("cannot be read: %v", err)
		}
		if token = strings.TrimSpace(string(b)); token == "" {
			return refuse("the file is empty")
		}
	}
	if token != "" {
		if err := httpserve.CheckToken(token); err != nil {
			return refuse("%v", err)
		}
	}
	return token, nil
}

// maxTokenFile is the largest file of a token: with line breaks around it.
const maxTokenFile = httpserve.MaxTokenBytes + 64

// readTokenFile reads no more than a token needs: the path may be that of a device without an end. A part of a file is no
// token.
func readTokenFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err == nil && len(b) > maxTokenFile {
		err = fmt.Errorf("more than %d bytes, for a token of which we want %d to %d", maxTokenFile, httpserve.MinTokenBytes, httpserve.MaxTokenBytes)
	}
	return b, errors.Join(err, f.Close())
}

// Config turns valid settings into the configuration of a gateway.
func (s Settings) Config(kafka kafkaclient.Settings, version string) (Config, error) {
	token, err := s.token()
	if err != nil {
		return Config{}, err
	}
	c := DefaultConfig(kafka.Topic)
	c.Feed.TailBytes, c.Feed.CacheBytes = int64(s.TailMiB)<<20, int64(s.CacheMiB)<<20
	c.Feed.RequestTimeout = kafka.RequestTimeout.Duration()
	c.Limits = wire.Limits{Framed: s.MaxPayloadBytes, Decoded: s.MaxPayloadBytes}
	c.Token, c.TokenFile, c.Open = token, s.TokenFile, s.Open
	c.AllowedOrigins, c.TrustedProxies = s.AllowedOrigins, s.TrustedProxies
	c.MaxConnections, c.MaxConnectionsPerIP = s.MaxConnections, s.MaxConnectionsPerIP
	c.SendTimeout = s.SendTimeout.Duration()
	c.Version = version
	return c, c.Validate()
}

// Prefixes is a list of addresses and networks.
type Prefixes []netip.Prefix

// Allowed says what may be written.
func (Prefixes) Allowed() string { return "IP addresses and CIDRs, comma separated" }

// String gives the list as it is written.
func (p Prefixes) String() string {
	out := make([]string, len(p))
	for i, x := range p {
		out[i] = x.String()
	}
	return strings.Join(out, ",")
}

// MarshalText is the inverse of UnmarshalText.
func (p Prefixes) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the list; a single address is a network of one.
func (p *Prefixes) UnmarshalText(text []byte) error {
	var out Prefixes
	for item := range strings.SplitSeq(string(text), ",") {
		item = strings.TrimSpace(item)
		if item == "" || strings.EqualFold(item, "none") {
			continue
		}
		if a, err := netip.ParseAddr(item); err == nil {
			a = a.Unmap()
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		x, err := netip.ParsePrefix(item)
		if err != nil {
			return fmt.Errorf("%q is neither an address nor a CIDR", clip(item, 64))
		}
		if a := x.Addr(); a.Is4In6() {
			// Addresses are compared as IPv4 where they are, and no IPv6 network
			// holds those.
			if x.Bits() < 96 {
				return fmt.Errorf("%q holds more than the IPv4 addresses written as IPv6: want a network of either kind", clip(item, 64))
			}
			x = netip.PrefixFrom(a.Unmap(), x.Bits()-96)
		}
		out = append(out, x.Masked())
	}
	*p = out
	return nil
}
