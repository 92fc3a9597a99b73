package demo

import (
	"time"
)

// passMark is the score from which an answer is good enough.
const passMark = 0.8

// verdict is a judgement of an answer.
type verdict struct {
	accuracy, relevance, completeness, score float64
	passed                                   bool
}

// difficulty is the score that a good model gets for a question of the category.
var difficulty = map[string]float64{"Simple": 0.95, "Medium": 0.91, "Complex": 0.86, "Edge": 0.8}

// judge decides the scores of an answer. bonus moves all of them.
func (t *timeline) judge(m model, bonus float64) verdict {
	one := func(spread float64) float64 {
		base := difficulty[t.category] + m.skill + bonus
		// The conversions keep a processor from multiplying and adding in one step, with another rounding.
		return round(min(0.99, max(0.2, base+float64((t.rng.Float64()*2-1)*spread))), 2)
	}
	v := verdict{accuracy: one(0.05), relevance: one(0.04), completeness: one(0.08)}
	v.score = round(float64(0.4*v.accuracy)+float64(0.3*v.relevance)+float64(0.3*v.completeness), 3)
	v.passed = v.score >= passMark
	return v
}

// quality writes a judgement of what a model answered since the time given.
func (t *timeline) quality(v verdict, m model, application string, since time.Duration, turn, retries int) {
	t.add(quality{verdict: v, model: m.name, category: t.category, application: application, queryID: t.queryID, latency: t.now - since, turn: turn, retries: retries})
}
