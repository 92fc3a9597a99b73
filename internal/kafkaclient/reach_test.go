package kafkaclient_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

func TestUnreachable(t *testing.T) {
	t.Parallel()
	t.Run("nothing listens", func(t *testing.T) {
		t.Parallel()
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := ln.Addr().String()
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		wantExplained(t, probe(t, at(addr)), kafkaclient.ClassRefused, "nothing listens at "+addr, "KAFKA_BROKERS")
	})
	t.Run("no such name", func(t *testing.T) {
		t.Parallel()
		err := probe(t, at("no-such-host.invalid:9092"))
		// A sandbox without a resolver times out instead.
		if class := kafkaclient.Classify(err); class != kafkaclient.ClassTimeout && class != kafkaclient.ClassRefused {
			wantExplained(t, err, kafkaclient.ClassDNS, `"no-such-host.invalid" cannot be looked up`, "KAFKA_BROKERS")
		}
	})
	t.Run("second broker of the list works", func(t *testing.T) {
		t.Parallel()
		if err := probe(t, at("127.0.0.1:1", broker(t).ListenAddrs()[0])); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("cancelled by the caller", func(t *testing.T) {
		t.Parallel()
		s := at(answer(t, silence))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := s.Probe(ctx, client(t, s), kafkaclient.OpInspect, s.Topic)
		if kafkaclient.Classify(err) != kafkaclient.ClassCanceled || !errors.Is(err, context.Canceled) {
			t.Errorf("class %q: %v", kafkaclient.Classify(err), err)
		}
		if _, explained := errors.AsType[*kafkaclient.Explained](err); explained {
			t.Errorf("cancellation is nothing to explain: %v", err)
		}
	})
}

// The broker sends clients on to its advertised address; when that is wrong, KAFKA_BROKERS is not what to change.
func TestAdvertisedListener(t *testing.T) {
	t.Parallel()
	c := broker(t)
	c.ControlKey(int16(kmsg.Metadata), func(request kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		response := request.ResponseKind().(*kmsg.MetadataResponse)
		b, real := kmsg.NewMetadataResponseBroker(), kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = 7, "127.0.0.2", 1
		here := netip.MustParseAddrPort(c.ListenAddrs()[0])
		real.NodeID, real.Host, real.Port = 0, here.Addr().String(), int32(here.Port())
		response.Brokers = append(response.Brokers, b, real)
		response.ControllerID = 7
		return response, nil, true
	})
	s := at(c.ListenAddrs()...)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cl := client(t, s)
	if err := cl.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	request := kmsg.NewPtrListGroupsRequest()
	_, err := cl.Broker(7).Request(ctx, request)
	wantExplained(t, s.Explain(kafkaclient.OpInspect, err), kafkaclient.ClassRefused, "advertised.listeners", "127.0.0.2:1 is not in KAFKA_BROKERS")
	// One leader is enough for a start, since another may just be restarting; and none is no failure to reach it.
	for _, tt := range []struct {
		leaders []int32
		fails   bool
	}{{nil, false}, {[]int32{-1}, false}, {[]int32{7, -1, 7}, true}, {[]int32{7, 0}, false}} {
		err := kafkaclient.ReachLeader(ctx, cl, tt.leaders)
		if (err != nil) != tt.fails {
			t.Errorf("leaders %v: %v", tt.leaders, err)
		}
		if tt.fails {
			wantExplained(t, s.Explain(kafkaclient.OpConsume, err), kafkaclient.ClassRefused, "broker 7, which leads partitions", "advertised.listeners")
		}
	}
}

func TestAddressFamily(t *testing.T) {
	t.Parallel()
	listen := func(address string) kfake.Opt {
		return kfake.ListenFn(func(string, string) (net.Listener, error) {
			return new(net.ListenConfig).Listen(context.Background(), "tcp", address)
		})
	}
	if ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp6", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 on this machine: %v", err)
	} else if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	brokers := map[kafkaclient.AddressFamily]string{
		kafkaclient.FamilyV4: broker(t, listen("127.0.0.1:0")).ListenAddrs()[0],
		kafkaclient.FamilyV6: broker(t, listen("[::1]:0")).ListenAddrs()[0],
	}
	for listens, addr := range brokers {
		for _, family := range []kafkaclient.AddressFamily{kafkaclient.FamilyAny, kafkaclient.FamilyV4, kafkaclient.FamilyV6} {
			s := at(addr)
			s.AddressFamily = family
			err := probe(t, s)
			switch {
			case family == listens || family == kafkaclient.FamilyAny:
				if err != nil {
					t.Errorf("%s client, %s broker: %v", family, listens, err)
				}
			default:
				wantExplained(t, err, kafkaclient.ClassDNS, "KAFKA_BROKER_ADDRESS_FAMILY", string(family))
			}
		}
	}
}

func adminOf(t *testing.T, s kafkaclient.Settings) *kadm.Client {
	t.Helper()
	return kadm.NewClient(client(t, s))
}
