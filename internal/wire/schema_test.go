package wire

import (
	"fmt"
	"strings"
	"testing"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The contract with producers in the field, written down a second time from
// the specification and not from the .proto: a change to either alone fails.
// A field reads "number name type"; a type of several words is as in the
// .proto.
var schemaMessages = map[string]string{
	"DashStreamMessage": `
		1 event Event; 2 state_diff StateDiff; 3 token_chunk TokenChunk; 4 tool_execution ToolExecution;
		5 checkpoint Checkpoint; 6 metrics Metrics; 7 error Error; 8 event_batch EventBatch;
		9 execution_trace ExecutionTrace`,
	"Header": `
		1 message_id bytes; 2 timestamp_us int64; 3 tenant_id string; 4 thread_id string; 5 sequence uint64;
		6 type MessageType; 7 parent_id bytes; 8 compression CompressionType; 9 schema_version uint32`,
	"Event": `
		1 header Header; 2 event_type EventType; 3 node_id string; 4 attributes map<string, AttributeValue>;
		5 duration_us int64; 6 llm_request_id string`,
	"AttributeValue": `
		1 string_value string; 2 int_value int64; 3 float_value double; 4 bool_value bool; 5 bytes_value bytes;
		6 array_value AttributeArray; 7 map_value AttributeMap`,
	"AttributeArray": `1 values repeated AttributeValue`,
	"AttributeMap":   `1 values map<string, AttributeValue>`,
	"EventBatch":     `1 header Header; 2 events repeated Event`,
	"StateDiff": `
		1 header Header; 2 base_checkpoint_id bytes; 3 operations repeated DiffOperation; 4 state_hash bytes;
		5 full_state bytes`,
	"DiffOperation": `
		1 op DiffOperation.OpType; 2 path string; 3 value bytes; 4 from string; 5 encoding DiffOperation.ValueEncoding`,
	"TokenChunk": `
		1 header Header; 2 request_id string; 3 text string; 4 token_ids repeated uint32; 5 logprobs repeated float;
		6 chunk_index uint32; 7 is_final bool; 8 finish_reason TokenChunk.FinishReason; 9 model string; 10 stats TokenStats`,
	"TokenStats": `1 prompt_tokens uint32; 2 completion_tokens uint32; 3 total_tokens uint32`,
	"ToolExecution": `
		1 header Header; 2 call_id string; 3 tool_name string; 4 stage ToolExecution.ExecutionStage; 5 arguments bytes;
		6 result bytes; 7 error string; 8 error_details Error; 9 duration_us int64; 10 retry_count uint32`,
	"Checkpoint": `
		1 header Header; 2 checkpoint_id bytes; 3 state bytes; 4 state_type string; 5 checksum bytes;
		6 storage_uri string; 7 compression_info CompressionInfo; 8 metadata map<string, string>`,
	"CompressionInfo": `
		1 type CompressionType; 2 compressed_size uint64; 3 uncompressed_size uint64; 4 compression_ratio float`,
	"Metrics": `
		1 header Header; 2 scope string; 3 scope_id string; 4 metrics map<string, MetricValue>;
		5 tags map<string, string>`,
	"MetricValue": `
		1 int_value int64; 2 float_value double; 3 string_value string; 4 bool_value bool; 5 bytes_value bytes;
		6 unit string; 7 type MetricValue.MetricType`,
	"Error": `
		1 header Header; 2 error_code string; 3 message string; 4 stack_trace string; 5 context map<string, string>;
		6 severity Error.ErrorSeverity; 7 exception_type string; 8 suggestions repeated string`,
	"ExecutionTrace": `
		1 header Header; 2 thread_id string; 3 execution_id string; 4 nodes_executed repeated NodeExecutionRecord;
		5 total_duration_ms uint64; 6 total_tokens uint64; 7 errors repeated ErrorRecord; 8 completed bool;
		9 started_at string; 10 ended_at string; 11 final_state bytes; 12 metadata map<string, bytes>`,
	"NodeExecutionRecord": `
		1 node string; 2 duration_ms uint64; 3 prompt_tokens uint64; 4 completion_tokens uint64; 5 total_tokens uint64;
		6 succeeded bool; 7 started_at string; 8 ended_at string; 9 input bytes; 10 output bytes;
		11 metadata map<string, string>`,
	"ErrorRecord": `
		1 node string; 2 message string; 3 error_code string; 4 timestamp string; 5 recovered bool; 6 stack_trace string`,
}

// The fields that exclude each other.
var schemaOneofs = map[string]string{
	"DashStreamMessage": "event state_diff token_chunk tool_execution checkpoint metrics error event_batch execution_trace",
	"AttributeValue":    "string_value int_value float_value bool_value bytes_value array_value map_value",
	"MetricValue":       "int_value float_value string_value bool_value bytes_value",
}

// A value reads "NAME number", without the prefix.
var schemaEnums = map[string]string{
	"MessageType MESSAGE_TYPE_": `
		UNSPECIFIED 0, EVENT 1, STATE_DIFF 2, TOKEN_CHUNK 3, TOOL_EXECUTION 4, CHECKPOINT 5, METRICS 6, ERROR 7,
		EVENT_BATCH 8, EXECUTION_TRACE 9`,
	"CompressionType COMPRESSION_": `NONE 0, ZSTD 1, LZ4 2, SNAPPY 3`,
	"EventType EVENT_TYPE_": `
		UNSPECIFIED 0, GRAPH_START 1, GRAPH_END 2, GRAPH_ERROR 3, NODE_START 10, NODE_END 11, NODE_ERROR 12,
		EDGE_TRAVERSAL 20, CONDITIONAL_BRANCH 21, PARALLEL_START 22, PARALLEL_END 23, LLM_START 30, LLM_END 31,
		LLM_ERROR 32, LLM_RETRY 33, TOOL_START 40, TOOL_END 41, TOOL_ERROR 42, CHECKPOINT_SAVE 50,
		CHECKPOINT_LOAD 51, CHECKPOINT_DELETE 52, MEMORY_SAVE 60, MEMORY_LOAD 61, HUMAN_INTERRUPT 70,
		HUMAN_RESUME 71, NODE_PROGRESS 80, NODE_THINKING 81, NODE_SUBSTEP 82, NODE_WARNING 83,
		OPTIMIZATION_START 90, OPTIMIZATION_END 91`,
	"DiffOperation.OpType OP_TYPE_":               `ADD 0, REMOVE 1, REPLACE 2, MOVE 3, COPY 4, TEST 5`,
	"DiffOperation.ValueEncoding VALUE_ENCODING_": `JSON 0, MSGPACK 1, PROTOBUF 2, RAW 3`,
	"TokenChunk.FinishReason FINISH_REASON_":      `NONE 0, STOP 1, LENGTH 2, CONTENT_FILTER 3, TOOL_CALLS 4, ERROR 5`,
	"ToolExecution.ExecutionStage EXECUTION_STAGE_": `
		UNSPECIFIED 0, REQUESTED 1, STARTED 2, COMPLETED 3, FAILED 4, RETRYING 5`,
	"MetricValue.MetricType METRIC_TYPE_": `UNSPECIFIED 0, COUNTER 1, GAUGE 2, HISTOGRAM 3, SUMMARY 4`,
	"Error.ErrorSeverity SEVERITY_":       `UNSPECIFIED 0, DEBUG 1, INFO 2, WARNING 3, ERROR 4, FATAL 5`,
}

func TestSchemaIsTheContract(t *testing.T) {
	t.Parallel()
	file := pb.File_dashstream_v1_dashstream_proto
	if got := file.Package(); got != "dashstream.v1" {
		t.Errorf("package %s, want dashstream.v1", got)
	}

	messages := map[string]protoreflect.MessageDescriptor{}
	enums := map[string]protoreflect.EnumDescriptor{}
	collect(file, messages, enums)

	for name, spec := range schemaMessages {
		md := messages[name]
		if md == nil {
			t.Errorf("message %s is missing", name)
			continue
		}
		want := map[string]bool{}
		for _, f := range strings.Split(spec, ";") {
			want[strings.TrimSpace(f)] = true
		}
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			got := fmt.Sprintf("%d %s %s", fd.Number(), fd.Name(), fieldType(fd))
			if !want[got] {
				t.Errorf("%s has the field %q, which is not in the contract", name, got)
			}
			delete(want, got)
			if fd.HasPresence() && fd.Message() == nil && fd.ContainingOneof() == nil {
				t.Errorf("%s.%s tracks presence; the contract has plain proto3 fields", name, fd.Name())
			}
		}
		for f := range want {
			t.Errorf("%s lacks the field %q", name, f)
		}
		var oneof []string
		for i := range md.Oneofs().Len() {
			fields := md.Oneofs().Get(i).Fields()
			for j := range fields.Len() {
				oneof = append(oneof, string(fields.Get(j).Name()))
			}
		}
		if got := strings.Join(oneof, " "); got != schemaOneofs[name] {
			t.Errorf("%s: fields that exclude each other: %q, want %q", name, got, schemaOneofs[name])
		}
		delete(messages, name)
	}
	for name := range messages {
		t.Errorf("message %s is not in the contract", name)
	}

	for key, spec := range schemaEnums {
		name, prefix, _ := strings.Cut(key, " ")
		ed := enums[name]
		if ed == nil {
			t.Errorf("enum %s is missing", name)
			continue
		}
		want := map[string]bool{}
		for _, v := range strings.Split(spec, ",") {
			want[prefix+strings.TrimSpace(v)] = true
		}
		for i := range ed.Values().Len() {
			v := ed.Values().Get(i)
			got := fmt.Sprintf("%s %d", v.Name(), v.Number())
			if !want[got] {
				t.Errorf("%s has the value %q, which is not in the contract", name, got)
			}
			delete(want, got)
		}
		for v := range want {
			t.Errorf("%s lacks the value %q", name, v)
		}
		delete(enums, name)
	}
	for name := range enums {
		t.Errorf("enum %s is not in the contract", name)
	}
}

// TestKindsAreMessageTypes holds what Peek relies on: the number of a choice is
// the message type's, and each has its header at field 1.
func TestKindsAreMessageTypes(t *testing.T) {
	t.Parallel()
	fields := (&pb.DashStreamMessage{}).ProtoReflect().Descriptor().Fields()
	if fields.Len() != int(lastKind) {
		t.Errorf("%d kinds, Peek knows %d", fields.Len(), lastKind)
	}
	for i := range fields.Len() {
		fd := fields.Get(i)
		want := "MESSAGE_TYPE_" + strings.ToUpper(string(fd.Name()))
		if got := pb.MessageType(fd.Number()).String(); got != want {
			t.Errorf("kind %d is %s, want %s", fd.Number(), got, want)
		}
		h := fd.Message().Fields().ByNumber(headerNumber)
		if h == nil || h.Message() == nil || h.Message().Name() != "Header" {
			t.Errorf("%s has no header at field %d", fd.Name(), headerNumber)
		}
	}
}

type container interface {
	Messages() protoreflect.MessageDescriptors
	Enums() protoreflect.EnumDescriptors
}

func collect(c container, messages map[string]protoreflect.MessageDescriptor, enums map[string]protoreflect.EnumDescriptor) {
	for i := range c.Enums().Len() {
		ed := c.Enums().Get(i)
		enums[shortName(ed.FullName())] = ed
	}
	for i := range c.Messages().Len() {
		md := c.Messages().Get(i)
		if !md.IsMapEntry() {
			messages[shortName(md.FullName())] = md
		}
		collect(md, messages, enums)
	}
}

func shortName(n protoreflect.FullName) string {
	return strings.TrimPrefix(string(n), "dashstream.v1.")
}

func fieldType(fd protoreflect.FieldDescriptor) string {
	if fd.IsMap() {
		return fmt.Sprintf("map<%s, %s>", fieldType(fd.MapKey()), fieldType(fd.MapValue()))
	}
	name := fd.Kind().String()
	switch {
	case fd.Message() != nil:
		name = shortName(fd.Message().FullName())
	case fd.Enum() != nil:
		name = shortName(fd.Enum().FullName())
	}
	if fd.IsList() {
		return "repeated " + name
	}
	return name
}
