package demo

import (
	"math"
	"time"
	"unicode"
	"unicode/utf8"
)

// model is a language model as a script needs it. Prices are list prices of the kind that providers publish, in US
// dollars per million tokens.
type model struct {
	name, provider string
	in, out        float64
	// rate is how many tokens it says in a second, at a pace that people can follow; first is how long it takes to say the
	// first.
	rate  float64
	first time.Duration
	// skill moves the scores of what it writes.
	skill float64
}

// writers answer and write; helpers do the small work around them.
var (
	writers = []model{
		{"gpt-4o", "openai", 2.50, 10, 34, 620 * time.Millisecond, 0.01},
		{"gpt-4.1", "openai", 2, 8, 32, 660 * time.Millisecond, 0.02},
		{"claude-sonnet-4", "anthropic", 3, 15, 30, 790 * time.Millisecond, 0.03},
		{"gemini-2.5-pro", "google", 1.25, 10, 36, 850 * time.Millisecond, 0.02},
		{"mistral-large-latest", "mistral", 2, 6, 28, 580 * time.Millisecond, -0.01},
		{"llama-3.3-70b-versatile", "groq", 0.59, 0.79, 48, 410 * time.Millisecond, -0.03},
	}
	helpers = []model{
		{"gpt-4o-mini", "openai", 0.15, 0.60, 44, 460 * time.Millisecond, -0.02},
		{"claude-3-5-haiku-latest", "anthropic", 0.80, 4, 40, 540 * time.Millisecond, -0.01},
		{"gemini-2.0-flash", "google", 0.10, 0.40, 52, 430 * time.Millisecond, -0.03},
	}
)

// cost is the price of a call in US dollars, to a hundred-millionth.
func (m model) cost(prompt, completion int) float64 {
	usd := (float64(float64(prompt)*m.in) + float64(float64(completion)*m.out)) / 1e6 // rounded alike on every processor
	return math.Round(usd*1e8) / 1e8
}

// pieces cuts text into what a tokenizer might: short words with the space before them, parts of long ones, marks. They
// concatenate to the text.
func pieces(text string) []string {
	const longest = 7
	var out []string
	start, letters := 0, 0
	var before rune
	for i, r := range text {
		word := unicode.IsLetter(r) || unicode.IsDigit(r)
		wasWord := unicode.IsLetter(before) || unicode.IsDigit(before)
		switch {
		case i == 0:
		case word && (wasWord && letters < longest || before == ' ' && i-start == 1):
			// goes on
		default:
			out = append(out, text[start:i])
			start, letters = i, 0
		}
		if word {
			letters++
		}
		before = r
	}
	if start < len(text) {
		out = append(out, text[start:])
	}
	return out
}

// promptTokens is about what a prompt of the text takes, with the instructions that go before it.
func promptTokens(instructions int, texts ...string) int {
	n := instructions
	for _, t := range texts {
		n += (utf8.RuneCountInString(t) + 3) / 4
	}
	return n
}
