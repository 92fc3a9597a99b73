package demo

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/dashflow/dashstream"
)

// graph is the graph that a scenario runs. The package documentation shows both of its forms on the wire.
type graph struct {
	Name       string      `json:"name"`
	Version    string      `json:"version"`
	EntryPoint string      `json:"entry_point"`
	ExitPoints []string    `json:"exit_points"`
	Nodes      []graphNode `json:"nodes"`
	Edges      []graphEdge `json:"edges"`
}

type graphNode struct {
	ID          string `json:"id"`
	Label       string `json:"label"`
	Kind        string `json:"kind"`
	Description string `json:"description"`
	Parent      string `json:"parent,omitempty"`
}

type graphEdge struct {
	From        string `json:"from"`
	To          string `json:"to"`
	Kind        string `json:"kind"`
	Conditional bool   `json:"conditional"`
	Label       string `json:"label,omitempty"`
}

// Kinds of nodes.
const (
	kindLLM      = "llm"
	kindTool     = "tool"
	kindFunction = "function"
	kindRouter   = "router"
	kindHuman    = "human"
	kindSubgraph = "subgraph"
)

func direct(from, to string) graphEdge { return graphEdge{From: from, To: to, Kind: "direct"} }

func conditional(from, to, label string) graphEdge {
	return graphEdge{From: from, To: to, Kind: "conditional", Conditional: true, Label: label}
}

func parallel(from, to string) graphEdge { return graphEdge{From: from, To: to, Kind: "parallel"} }

// manifest is the form of graph_manifest.
type manifest struct {
	GraphName  string                    `json:"graph_name"`
	Version    string                    `json:"version"`
	EntryPoint string                    `json:"entry_point"`
	Nodes      map[string]manifestNode   `json:"nodes"`
	Edges      map[string][]manifestEdge `json:"edges"`
}

type manifestNode struct {
	Kind        string `json:"kind"`
	Description string `json:"description"`
}

type manifestEdge struct {
	To          string `json:"to"`
	Kind        string `json:"kind"`
	Conditional bool   `json:"conditional"`
}

func (g *graph) manifest() manifest {
	m := manifest{GraphName: g.Name, Version: g.Version, EntryPoint: g.EntryPoint, Nodes: map[string]manifestNode{}, Edges: map[string][]manifestEdge{}}
	for _, n := range g.Nodes {
		m.Nodes[n.ID] = manifestNode{n.Kind, n.Description}
	}
	for _, e := range g.Edges {
		m.Edges[e.From] = append(m.Edges[e.From], manifestEdge{e.To, e.Kind, e.Conditional})
	}
	return m
}

// spec is the graph as the SDK takes it.
func (g *graph) spec() (dashstream.Graph, error) {
	schema, err := json.Marshal(g)
	if err != nil {
		return dashstream.Graph{}, fmt.Errorf("encode schema of graph %s: %w", g.Name, err)
	}
	sum := sha256.Sum256(schema)
	return dashstream.Graph{
		Name: g.Name, Manifest: g.manifest(), Schema: json.RawMessage(schema), SchemaID: g.Name + "@" + hex.EncodeToString(sum[:6]),
		EntryPoint: g.EntryPoint, Nodes: len(g.Nodes), Edges: len(g.Edges),
	}, nil
}
