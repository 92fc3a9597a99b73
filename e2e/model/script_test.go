package model

import (
	"math/rand/v2"
	"slices"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

// script is a run: what happens to the cluster and when, and what each client
// does. Everything that chance decides is written in it, so that parts can be
// taken out and the rest stays as it was.
type script struct {
	Seed       uint64 `json:"seed"`
	Partitions int    `json:"partitions"`
	Gateways   int    `json:"gateways"`
	// LengthMs is when the last event may come.
	LengthMs int          `json:"length_ms"`
	Events   []event      `json:"events"`
	Clients  []clientPlan `json:"clients"`
}

// event is something that happens to the cluster or to a gateway. Fields
// besides At and Do count as their verb says.
type event struct {
	AtMs int  `json:"at"`
	Do   verb `json:"do"`
	// P selects a partition, modulo how many there are. -1 is all.
	P int `json:"p,omitempty"`
	// N is how many: records, requests, a node, a gateway.
	N int `json:"n,omitempty"`
	// Ms is how long it lasts.
	Ms int `json:"ms,omitempty"`
	// Share is how much of a partition retention takes, in percent.
	Share int `json:"share,omitempty"`
	// What is a Kafka error or a request.
	What string `json:"what,omitempty"`
}

type verb string

const (
	doProduce       verb = "produce"        // N records to P
	doTransaction   verb = "transaction"    // N records to P, then a commit marker
	doAbort         verb = "abort"          // N records to P, then an abort marker
	doSpoil         verb = "spoil"          // N records to P that nobody can read
	doLeaders       verb = "leaders"        // leaders move
	doFault         verb = "fault"          // the next N requests What[0] for P fail
	doCutBroker     verb = "cut-broker"     // node N loses its connections and is away for Ms
	doFreezeBroker  verb = "freeze-broker"  // node N does not answer for Ms
	doRetention     verb = "retention"      // takes Share percent of P
	doGrow          verb = "grow"           // one partition more
	doRecreate      verb = "recreate"       // the topic is deleted, and created Ms later
	doKillGateway   verb = "kill-gateway"   // N dies and comes back Ms later
	doStopGateway   verb = "stop-gateway"   // the same, in good order
	doFreezeGateway verb = "freeze-gateway" // the way to N is dead for Ms
)

// trouble is what keeps a broker from answering, or from finding a time.
var trouble = map[verb]bool{doSpoil: true, doLeaders: true, doFault: true, doCutBroker: true, doFreezeBroker: true}

// calm says that the brokers always answer.
func (s script) calm() bool {
	return !slices.ContainsFunc(s.Events, func(e event) bool { return trouble[e.Do] })
}

func (s script) has(v verb) bool {
	return slices.ContainsFunc(s.Events, func(e event) bool { return e.Do == v })
}

// clientPlan is a client: what it wants, and its sessions, each of which goes
// on where the last ended.
type clientPlan struct {
	Filter   filter        `json:"filter"`
	Start    string        `json:"start"` // earliest, latest, since
	BackMs   int           `json:"back_ms,omitempty"`
	Sessions []sessionPlan `json:"sessions"`
}

type sessionPlan struct {
	// WaitMs comes before connecting.
	WaitMs  int    `json:"wait,omitempty"`
	Gateway int    `json:"gateway,omitempty"`
	Kind    string `json:"kind"` // proto, json, sse
	// Frames is after how many the session ends; stalls and subscribing again
	// are after so many too, where not 0.
	Frames  int  `json:"frames"`
	StallAt int  `json:"stall_at,omitempty"`
	StallMs int  `json:"stall_ms,omitempty"`
	AgainAt int  `json:"again_at,omitempty"`
	Ack     bool `json:"ack,omitempty"`
	// SaveAt is after how many frames the client writes down where it is.
	SaveAt int    `json:"save_at,omitempty"`
	End    string `json:"end"` // cut, close, crash (back to what was saved), forget (a new client)
}

// kafkaErrors are what a fault answers with.
var kafkaErrors = []string{
	"NOT_LEADER_FOR_PARTITION", "KAFKA_STORAGE_ERROR", "FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH", "UNKNOWN_SERVER_ERROR", "REQUEST_TIMED_OUT",
	"OFFSET_NOT_AVAILABLE", "LEADER_NOT_AVAILABLE", "REPLICA_NOT_AVAILABLE",
}

const scriptNodes = 3

// size scales a script.
type size struct {
	lengthMs, clients, sessions int
}

// newScript makes the script of a seed.
func newScript(seed uint64, s size) script {
	r := rand.New(rand.NewPCG(seed, 1))
	sc := script{Seed: seed, Partitions: 1 + r.IntN(5), Gateways: 2 + r.IntN(2), LengthMs: s.lengthMs}
	// Some runs are calm where others are not, or the faults would hide each other's.
	weights := map[verb]int{doProduce: 1000}
	calm := r.IntN(6) == 0
	for _, v := range []verb{doTransaction, doAbort, doSpoil, doLeaders, doFault, doCutBroker, doFreezeBroker, doRetention, doGrow, doKillGateway, doStopGateway, doFreezeGateway} {
		if r.IntN(3) > 0 && !(calm && trouble[v]) {
			weights[v] = 1 + r.IntN(12)
		}
	}
	if r.IntN(2) == 0 {
		weights[doRecreate] = 1
	}
	total := 0
	for _, v := range verbs {
		total += weights[v]
	}
	pick := func() verb {
		n := r.IntN(total)
		for _, v := range verbs {
			if n -= weights[v]; n < 0 {
				return v
			}
		}
		return doProduce
	}
	meanMs := 4 + r.IntN(30)
	for at := 0; at < s.lengthMs; at += r.IntN(2 * meanMs) {
		e := event{AtMs: at, Do: pick(), P: r.IntN(60)}
		switch e.Do {
		case doProduce, doTransaction, doAbort, doSpoil:
			if e.N = 1 + r.IntN(3); r.IntN(50) == 0 {
				e.N = 1 + r.IntN(200)
			}
		case doFault:
			e.What = []string{"fetch", "list-offsets", "metadata", "produce"}[r.IntN(4)] + " " + kafkaErrors[r.IntN(len(kafkaErrors))]
			e.N = 1 + r.IntN(8)
			if r.IntN(6) == 0 {
				e.P = -1
			}
		case doCutBroker, doFreezeBroker:
			e.N, e.Ms = r.IntN(scriptNodes), r.IntN(4000)
			if e.Do == doFreezeBroker && r.IntN(4) == 0 {
				e.Ms = 30_000
			}
		case doRetention:
			e.Share = 1 + r.IntN(100)
		case doRecreate:
			e.Ms = r.IntN(5000)
		case doKillGateway, doStopGateway, doFreezeGateway:
			e.N, e.Ms = r.IntN(sc.Gateways), r.IntN(3000)
		}
		sc.Events = append(sc.Events, e)
	}
	for range s.clients {
		sc.Clients = append(sc.Clients, newClientPlan(r, sc.Gateways, s))
	}
	return sc
}

var verbs = []verb{
	doProduce, doTransaction, doAbort, doSpoil, doLeaders, doFault, doCutBroker, doFreezeBroker, doRetention, doGrow, doRecreate, doKillGateway, doStopGateway, doFreezeGateway,
}

func newClientPlan(r *rand.Rand, gateways int, s size) clientPlan {
	c := clientPlan{Start: []string{"earliest", "earliest", "latest", "since"}[r.IntN(4)]}
	if c.Start == "since" {
		c.BackMs = r.IntN(s.lengthMs)
	}
	if r.IntN(2) == 0 {
		for range r.IntN(3) {
			c.Filter.Threads = append(c.Filter.Threads, threadName(r.Uint64()))
		}
		if r.IntN(3) == 0 {
			c.Filter.Tenants = append(c.Filter.Tenants, tenantName(r.Uint64()))
		}
		for range max(0, r.IntN(4)-1) {
			c.Filter.Types = append(c.Filter.Types, []pb.MessageType{
				pb.MessageType_MESSAGE_TYPE_UNSPECIFIED, pb.MessageType_MESSAGE_TYPE_EVENT, pb.MessageType_MESSAGE_TYPE_TOKEN_CHUNK, pb.MessageType_MESSAGE_TYPE_EVENT_BATCH,
			}[r.IntN(4)])
		}
	}
	for range 1 + r.IntN(s.sessions) {
		p := sessionPlan{
			WaitMs: r.IntN(200), Gateway: r.IntN(gateways), Kind: []string{"proto", "json", "sse"}[r.IntN(3)], Frames: 1 + r.IntN(1+r.IntN(1500)),
			End: []string{"cut", "cut", "close", "crash", "crash", "forget"}[r.IntN(6)], Ack: r.IntN(3) == 0,
		}
		if r.IntN(6) == 0 {
			p.WaitMs = r.IntN(s.lengthMs / 4)
		}
		if r.IntN(4) == 0 {
			p.StallAt, p.StallMs = 1+r.IntN(p.Frames), r.IntN(9000)
		}
		if r.IntN(4) == 0 && p.Kind != "sse" {
			p.AgainAt = 1 + r.IntN(p.Frames)
		}
		if p.End == "crash" {
			p.SaveAt = r.IntN(p.Frames)
		}
		c.Sessions = append(c.Sessions, p)
	}
	return c
}
