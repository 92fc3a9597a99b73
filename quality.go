package dashstream

import (
	"fmt"
	"maps"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

// Quality is a judgement of what a run produced. A nil field is unknown and left out; new(0.9) makes a pointer. Ratios are
// from 0 to 1.
type Quality struct {
	Accuracy, Relevance, Completeness *float64
	// Score is the judgement as a whole.
	Score  *float64
	Passed *bool

	Latency    *time.Duration
	RetryCount *int
	// TurnNumber counts the turns of a conversation from 1.
	TurnNumber *int

	// Tags. Empty ones are left out.
	Model, Category, ApplicationType, QueryID string
	// Tags are further ones.
	Tags map[string]string
}

// Quality emits a judgement.
func (r *Run) Quality(q Quality) {
	if r == nil {
		return
	}
	values := map[string]*pb.MetricValue{}
	ratio := func(name string, v *float64) {
		if v != nil && r.p.finite(*v) {
			values[name] = &pb.MetricValue{Value: &pb.MetricValue_FloatValue{FloatValue: *v}, Unit: "ratio", Type: pb.MetricValue_METRIC_TYPE_GAUGE}
		}
	}
	count := func(name, unit string, v *int64) {
		if v != nil {
			values[name] = &pb.MetricValue{Value: &pb.MetricValue_IntValue{IntValue: *v}, Unit: unit, Type: pb.MetricValue_METRIC_TYPE_GAUGE}
		}
	}
	ratio("accuracy", q.Accuracy)
	ratio("relevance", q.Relevance)
	ratio("completeness", q.Completeness)
	ratio("quality_score", q.Score)
	if q.Passed != nil {
		values["passed"] = &pb.MetricValue{Value: &pb.MetricValue_BoolValue{BoolValue: *q.Passed}, Type: pb.MetricValue_METRIC_TYPE_GAUGE}
	}
	if q.Latency != nil {
		count("latency_ms", "ms", new(q.Latency.Milliseconds()))
	}
	if q.RetryCount != nil {
		count("retry_count", "", new(int64(*q.RetryCount)))
	}
	if q.TurnNumber != nil {
		count("turn_number", "", new(int64(*q.TurnNumber)))
	}
	tags := maps.Clone(q.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	for k, v := range map[string]string{"model": q.Model, "category": q.Category, "application_type": q.ApplicationType, "query_id": q.QueryID} {
		if v != "" {
			tags[k] = v
		}
	}
	r.sendMetrics(&pb.Metrics{Scope: "quality", ScopeId: r.th.id, Metrics: values, Tags: tags})
}

func (r *Run) sendMetrics(m *pb.Metrics) {
	it, _ := r.p.newItem(r.th, pb.MessageType_MESSAGE_TYPE_METRICS, classNormal)
	it.headers = r.headers
	it.header.ParentId = r.startID
	m.Header = it.header
	it.cost += len(m.Metrics) * attrOverhead
	for k, v := range m.Tags {
		v = r.p.cutText(v)
		m.Tags[k] = v
		it.cost += len(k) + len(v) + attrOverhead
	}
	it.msg = &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Metrics{Metrics: m}}
	_ = r.emit(it) // what is not admitted is counted
}

// ErrorInfo says more about an error than its text.
type ErrorInfo struct {
	Code       string
	StackTrace string
	Context    map[string]string
	// Severity is SEVERITY_ERROR where it is not set.
	Severity    pb.Error_ErrorSeverity
	Suggestions []string
}

// Error emits an error. It does not end the run.
func (r *Run) Error(err error, info ErrorInfo) {
	if r == nil || err == nil {
		return
	}
	if info.Severity == pb.Error_SEVERITY_UNSPECIFIED {
		info.Severity = pb.Error_SEVERITY_ERROR
	}
	context := maps.Clone(info.Context)
	for k, v := range context {
		context[k] = r.p.cutText(v)
	}
	r.sendError(&pb.Error{
		ErrorCode: info.Code, Message: errorText(err), StackTrace: info.StackTrace, Context: context, Severity: info.Severity,
		ExceptionType: fmt.Sprintf("%T", err), Suggestions: append([]string(nil), info.Suggestions...),
	})
}
