package cli

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dashflow/dashstream/dashstreampb"
)

// summary says in a few words what a message tells.
func summary(m *dashstreampb.DashStreamMessage) string {
	switch m := m.GetMessage().(type) {
	case *dashstreampb.DashStreamMessage_Event:
		return eventSummary(m.Event)
	case *dashstreampb.DashStreamMessage_EventBatch:
		var kinds []string
		for _, e := range m.EventBatch.GetEvents() {
			kinds = append(kinds, eventName(e))
		}
		return fmt.Sprintf("%d events: %s", len(kinds), strings.Join(kinds, ", "))
	case *dashstreampb.DashStreamMessage_StateDiff:
		d := m.StateDiff
		if len(d.GetFullState()) > 0 {
			return fmt.Sprintf("full state, %d bytes", len(d.GetFullState()))
		}
		var ops []string
		for _, op := range d.GetOperations() {
			ops = append(ops, strings.ToLower(strings.TrimPrefix(op.GetOp().String(), "OP_TYPE_"))+" "+op.GetPath())
		}
		return strings.Join(ops, ", ")
	case *dashstreampb.DashStreamMessage_TokenChunk:
		c := m.TokenChunk
		s := strconv.Quote(c.GetText())
		if c.GetIsFinal() {
			s += " final"
			if n := c.GetStats().GetTotalTokens(); n > 0 {
				s += fmt.Sprintf(", %d tokens", n)
			}
		}
		return s
	case *dashstreampb.DashStreamMessage_ToolExecution:
		x := m.ToolExecution
		s := x.GetToolName() + " " + strings.ToLower(strings.TrimPrefix(x.GetStage().String(), "EXECUTION_STAGE_"))
		s += tookText(x.GetDurationUs())
		if x.GetError() != "" {
			s += ": " + x.GetError()
		}
		return s
	case *dashstreampb.DashStreamMessage_Checkpoint:
		return fmt.Sprintf("%x, %d bytes", m.Checkpoint.GetCheckpointId(), len(m.Checkpoint.GetState()))
	case *dashstreampb.DashStreamMessage_Metrics:
		var values []string
		for _, k := range slices.Sorted(maps.Keys(m.Metrics.GetMetrics())) {
			values = append(values, k+"="+metricText(m.Metrics.GetMetrics()[k]))
		}
		return m.Metrics.GetScope() + " " + strings.Join(values, " ")
	case *dashstreampb.DashStreamMessage_Error:
		return strings.TrimSpace(m.Error.GetErrorCode() + " " + m.Error.GetMessage())
	case *dashstreampb.DashStreamMessage_ExecutionTrace:
		return fmt.Sprintf("%d nodes, %d ms", len(m.ExecutionTrace.GetNodesExecuted()), m.ExecutionTrace.GetTotalDurationMs())
	default:
		return ""
	}
}

func eventName(e *dashstreampb.Event) string {
	return strings.TrimPrefix(e.GetEventType().String(), "EVENT_TYPE_")
}

func eventSummary(e *dashstreampb.Event) string {
	s := eventName(e)
	if e.GetNodeId() != "" {
		s += " " + e.GetNodeId()
	}
	for _, k := range []string{"graph_name", "to", "condition_result", "model", "message", "thought", "substep_name", "tool_name", "error"} {
		if v, ok := e.GetAttributes()[k]; ok {
			s += " " + k + "=" + attributeText(v)
		}
	}
	return s + tokensText(e.GetAttributes()) + tookText(e.GetDurationUs())
}

// tokensText is what a call of a model took and gave, where the event says so.
func tokensText(attributes map[string]*dashstreampb.AttributeValue) string {
	prompt, completion, total := attributes["prompt_tokens"], attributes["completion_tokens"], attributes["total_tokens"]
	switch {
	case prompt != nil && completion != nil:
		return " tokens=" + attributeText(prompt) + "+" + attributeText(completion)
	case total != nil:
		return " tokens=" + attributeText(total)
	default:
		return ""
	}
}

// tookText is a duration in microseconds; what is beyond a time.Duration is not known.
func tookText(us int64) string {
	if us <= 0 || us > math.MaxInt64/int64(time.Microsecond) {
		return ""
	}
	d := time.Duration(us) * time.Microsecond
	if d > time.Second {
		d = d.Round(time.Millisecond)
	}
	return " took " + d.String()
}

func attributeText(v *dashstreampb.AttributeValue) string {
	switch v := v.GetValue().(type) {
	case *dashstreampb.AttributeValue_StringValue:
		return strconv.Quote(v.StringValue)
	case *dashstreampb.AttributeValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *dashstreampb.AttributeValue_FloatValue:
		return strconv.FormatFloat(v.FloatValue, 'g', -1, 64)
	case *dashstreampb.AttributeValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	default:
		return "…"
	}
}

func metricText(v *dashstreampb.MetricValue) string {
	switch v := v.GetValue().(type) {
	case *dashstreampb.MetricValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *dashstreampb.MetricValue_FloatValue:
		return strconv.FormatFloat(v.FloatValue, 'g', 6, 64)
	case *dashstreampb.MetricValue_StringValue:
		return strconv.Quote(v.StringValue)
	case *dashstreampb.MetricValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	default:
		return "…"
	}
}

// printable makes untrusted text safe for a terminal and short: no control or
// formatting characters, cut between characters.
func printable(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > limit {
			b.WriteRune('…')
			break
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = '\uFFFD'
		}
		b.WriteRune(r)
	}
	return b.String()
}
