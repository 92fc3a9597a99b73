package jcs_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/jcs"
)

func TestCanonicalize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in, want string
		exact          bool
	}{
		{"members are sorted", `{"b":1,"a":2}`, `{"a":2,"b":1}`, true},
		{"nested members too", `[{"b":{"d":1,"c":2},"a":null}]`, `[{"a":null,"b":{"c":2,"d":1}}]`, true},
		{"UTF-16 order, not UTF-8", "{\"\U0001F600\":1,\"\uFB33\":2}", "{\"\U0001F600\":1,\"\uFB33\":2}", true},
		{"white space", " { \"a\" : [ 1 , 2 ] } ", `{"a":[1,2]}`, true},
		{"escapes", `"\u0041\/\u000a\u20ac"`, `"A/\n€"`, true},
		{"empty containers", `{"a":{},"b":[]}`, `{"a":{},"b":[]}`, true},
		{"digits in strings are no numbers", `"1.0 and \"2.0"`, `"1.0 and \"2.0"`, true},
		{"1.0 is 1", `[1.0,-1.0,100e-2]`, `[1,-1,1]`, true},
		{"negative zero", `[-0,-0.0,0.0,0e5]`, `[0,0,0,0]`, true},
		{"exponents", `[1e21,1E+21,1e20,1e-7,0.000001]`, `[1e+21,1e+21,100000000000000000000,1e-7,0.000001]`, true},
		{"shortest fraction", `[0.1,0.30000000000000004,4.50]`, `[0.1,0.30000000000000004,4.5]`, true},
		{"largest double", `1.7976931348623157e308`, `1.7976931348623157e+308`, true},
		{"2^53", `9007199254740992`, `9007199254740992`, true},
		{"2^53+1 keeps its digits", `{"id":9007199254740993}`, `{"id":9007199254740993}`, false},
		{"2^63-1 keeps its digits", `9223372036854775807`, `9223372036854775807`, false},
		{"2^60 is a double, but RFC 8785 writes other digits", `1152921504606846976`, `1152921504606846976`, false},
		{"long fraction keeps its digits", `0.1000000000000000055511151231257827`, `0.1000000000000000055511151231257827`, false},
		{"beyond the range of doubles", `1e400`, `1e400`, false},
		{"below the range of doubles", `1e-400`, `1e-400`, false},
		{"absurd exponent", `1e99999999999999999999`, `1e99999999999999999999`, false},
		{"one inexact number spoils only the hash", `[1.0,9007199254740993,2.0]`, `[1,9007199254740993,2]`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := []byte(tt.in)
			got, err := jcs.Canonicalize(in)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.JSON) != tt.want || got.Exact != tt.exact {
				t.Errorf("got %s exact=%t, want %s exact=%t", got.JSON, got.Exact, tt.want, tt.exact)
			}
			if string(in) != tt.in {
				t.Errorf("the input was changed to %s", in)
			}
			sum, ok := got.Hash()
			if ok != tt.exact {
				t.Errorf("hash ok=%t, want %t", ok, tt.exact)
			}
			if want := sha256.Sum256([]byte(tt.want)); ok && sum != want {
				t.Errorf("hash %x is not of the canonical text", sum)
			}
		})
	}
}

// The example of RFC 8785, section 3.2.2, with its published canonical bytes (section 3.2.4).
func TestCanonicalizeExampleOfTheRFC(t *testing.T) {
	t.Parallel()
	in := `{
       "numbers": [333333333.33333329, 1E30, 4.50,
                   2e-3, 0.000000000000000000000000001],
       "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
       "literals": [null, true, false]
     }`
	want := `{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`
	got, err := jcs.Canonicalize([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	// The example's first number has more digits than a double holds: the RFC drops the last one, this package keeps it.
	if got.Exact {
		t.Error("333333333.33333329 counts as exact")
	}
	text := bytes.Replace(got.JSON, []byte("333333333.33333329"), []byte("333333333.3333333"), 1)
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func TestHashIsStable(t *testing.T) {
	t.Parallel()
	doc, err := jcs.Canonicalize([]byte(`{"b":[1.0,"é"],"a":null}`))
	if err != nil {
		t.Fatal(err)
	}
	sum, ok := doc.Hash()
	want := sha256.Sum256([]byte(`{"a":null,"b":[1,"é"]}`))
	if !ok || sum != want {
		t.Errorf("hash %s ok=%t, want %s", hex.EncodeToString(sum[:]), ok, hex.EncodeToString(want[:]))
	}
}

func TestCanonicalizeRefuses(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"nothing":        ``,
		"two values":     `1 2`,
		"truncated":      `{"a":`,
		"duplicate name": `{"a":1,"a":2}`,
		"invalid UTF-8":  "\"\xff\"",
		"lone surrogate": `"\ud800"`,
		"NaN":            `NaN`,
	} {
		if doc, err := jcs.Canonicalize([]byte(in)); err == nil {
			t.Errorf("%s: got %s", name, doc.JSON)
		}
	}
}

// Invariants: canonicalizing twice changes nothing; no number changes its value; exactness survives.
func FuzzCanonicalize(f *testing.F) {
	for _, s := range []string{`{"b":1.50,"a":[1e2,-0,9007199254740993]}`, `"\u0041"`, `[1e-400,1E400]`, `{"":{"":[]}}`, `[`, `0.0`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		doc, err := jcs.Canonicalize(in)
		if err != nil {
			return
		}
		again, err := jcs.Canonicalize(doc.JSON)
		if err != nil {
			t.Fatalf("the canonical form %q is refused: %v", doc.JSON, err)
		}
		if !bytes.Equal(again.JSON, doc.JSON) || again.Exact != doc.Exact {
			t.Fatalf("not stable: %q (%t), then %q (%t)", doc.JSON, doc.Exact, again.JSON, again.Exact)
		}
		before, after := numbers(t, in), numbers(t, doc.JSON)
		if len(before) != len(after) {
			t.Fatalf("%d numbers became %d", len(before), len(after))
		}
		for n, count := range before {
			if after[n] != count {
				t.Fatalf("number %s: %d times before, %d after; %q became %q", n, count, after[n], in, doc.JSON)
			}
		}
	})
}

// numbers counts the numbers in a document by value. Those with absurd exponents count by text.
func numbers(t *testing.T, doc []byte) map[string]int {
	t.Helper()
	out := map[string]int{}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	for {
		tok, err := dec.Token()
		if err != nil {
			return out
		}
		n, ok := tok.(json.Number)
		if !ok {
			continue
		}
		key := n.String()
		mantissa, exponent := key, 0
		if i := strings.IndexAny(key, "eE"); i >= 0 {
			mantissa = key[:i]
			exponent, err = strconv.Atoi(key[i+1:])
		}
		if strings.Trim(mantissa, "-0.") == "" {
			key, exponent, err = "0", 0, nil
		}
		if err == nil && -1000 < exponent && exponent < 1000 { // big.Rat writes the zeros out
			if r, ok := new(big.Rat).SetString(key); ok {
				key = r.String()
			}
		}
		out[key]++
	}
}
