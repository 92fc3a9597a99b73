// Package pricing knows models: which family one belongs to, and, later, what it costs.
package pricing

import (
	"strings"
)

// What is not a family: Other is a model of none that is listed, Unknown one that was not named.
const (
	Other   = "other"
	Unknown = "unknown"
)

// families are told by a part of the model's name, the first that fits. The names of providers, dates and sizes around it
// do not matter.
var families = []struct{ part, family string }{
	{"gpt-5", "gpt-5"}, {"gpt-4.1", "gpt-4.1"}, {"gpt-4o", "gpt-4o"}, {"gpt-4", "gpt-4"}, {"gpt-3.5", "gpt-3.5"}, {"gpt-oss", "gpt-oss"},
	{"claude-opus", "claude-opus"}, {"claude-3-opus", "claude-opus"}, {"claude-sonnet", "claude-sonnet"}, {"claude-3-5-sonnet", "claude-sonnet"},
	{"claude-3-7-sonnet", "claude-sonnet"}, {"claude-3-sonnet", "claude-sonnet"}, {"claude-haiku", "claude-haiku"}, {"claude-3-5-haiku", "claude-haiku"},
	{"claude-3-haiku", "claude-haiku"}, {"claude", "claude"},
	{"gemini", "gemini"}, {"gemma", "gemma"}, {"llama", "llama"}, {"mixtral", "mistral"}, {"mistral", "mistral"}, {"magistral", "mistral"},
	{"codestral", "mistral"}, {"ministral", "mistral"}, {"qwen", "qwen"}, {"qwq", "qwen"}, {"deepseek", "deepseek"}, {"grok", "grok"},
	{"command-r", "command"}, {"command-a", "command"}, {"nova-", "nova"}, {"phi-", "phi"}, {"kimi", "kimi"}, {"glm-", "glm"},
}

// reasoning are models whose whole name begins so: o1, o3-mini, o4-mini-2025-04-16.
var reasoning = []string{"o1", "o3", "o4"}

// maxName is the longest name that is looked at, in bytes.
const maxName = 256

// Family returns the family of a model, one of [Families].
func Family(model string) string {
	if model == "" {
		return Unknown
	}
	if len(model) > maxName {
		return Other
	}
	name := strings.ToLower(model)
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		name = name[i+1:] // openrouter/openai/gpt-5
	}
	for _, f := range families {
		if strings.Contains(name, f.part) {
			return f.family
		}
	}
	for _, r := range reasoning {
		if name == r || strings.HasPrefix(name, r+"-") {
			return "o-series"
		}
	}
	return Other
}

// Families lists every family, for metrics that must exist before they move.
func Families() []string {
	out := []string{"o-series", Other, Unknown}
	for _, f := range families {
		seen := false
		for _, have := range out {
			seen = seen || have == f.family
		}
		if !seen {
			out = append(out, f.family)
		}
	}
	return out
}
