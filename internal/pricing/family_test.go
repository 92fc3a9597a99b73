package pricing_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/pricing"
)

func TestFamily(t *testing.T) {
	t.Parallel()
	for model, want := range map[string]string{
		"":                            pricing.Unknown,
		"gpt-4o-mini-2024-07-18":      "gpt-4o",
		"openrouter/openai/gpt-5-pro": "gpt-5",
		"GPT-4.1":                     "gpt-4.1",
		"gpt-4-turbo":                 "gpt-4",
		"o3-mini":                     "o-series",
		"o3":                          "o-series",
		"o3x":                         pricing.Other,
		"claude-3-5-sonnet-20241022":  "claude-sonnet",
		"anthropic.claude-opus-4-1":   "claude-opus",
		"bedrock/us.meta.llama3-1-8b-instruct-v1:0": "llama",
		"mixtral-8x7b":            "mistral",
		"homemade":                pricing.Other,
		strings.Repeat("x", 1000): pricing.Other,
	} {
		if got := pricing.Family(model); got != want {
			t.Errorf("%.60q is of family %s, want %s", model, got, want)
		} else if !slices.Contains(pricing.Families(), got) {
			t.Errorf("family %s is not listed", got)
		}
	}
	list := slices.Sorted(slices.Values(pricing.Families()))
	if n := len(list); len(slices.Compact(list)) != n {
		t.Errorf("a family is listed twice: %v", list)
	}
}
