// Package demo is simulated agents: they send through the SDK what real ones would, without a model, a tool or a network.
//
// A run is a script that a seed decides: which question, which model, what it says, where it fails. The same seed gives
// the same scripts, whatever the machine and the pace. A script has steps at times of its own; [Run] plays scripts, a few
// at once, at their natural pace, faster, or as fast as possible.
//
// Nothing here is to be taken for the work of a real agent: the tenant is [Tenant], thread ids begin with "demo-", and
// GRAPH_START has the attribute demo=true, the scenario and the seed.
//
// # Graphs
//
// GRAPH_START describes the graph twice. graph_manifest is by name, as programs look things up:
//
//	{"graph_name": "…", "version": "1", "entry_point": "a",
//	 "nodes": {"a": {"kind": "llm", "description": "…"}},
//	 "edges": {"a": [{"to": "b", "kind": "direct", "conditional": false}]}}
//
// graph_schema_json is in order, as people read and pages draw it:
//
//	{"name": "…", "version": "1", "entry_point": "a", "exit_points": ["b"],
//	 "nodes": [{"id": "a", "label": "…", "kind": "llm", "description": "…", "parent": "…"}],
//	 "edges": [{"from": "a", "to": "b", "kind": "direct", "conditional": false, "label": "…"}]}
//
// A node's kind is llm, tool, function, router, human or subgraph; the nodes of a subgraph name it as their parent. An
// edge's kind is direct, conditional or parallel. schema_id is the graph's name and the SHA-256 of the schema, shortened.
package demo
