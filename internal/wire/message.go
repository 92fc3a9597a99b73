package wire

import pb "github.com/dashflow/dashstream/dashstreampb"

// KindOf returns which message m carries, as the message type of the same
// number, or MESSAGE_TYPE_UNSPECIFIED if none. The kind is a fact of the
// message; its header's type is only what the producer wrote there.
func KindOf(m *pb.DashStreamMessage) pb.MessageType {
	switch m.GetMessage().(type) {
	case *pb.DashStreamMessage_Event:
		return pb.MessageType_MESSAGE_TYPE_EVENT
	case *pb.DashStreamMessage_StateDiff:
		return pb.MessageType_MESSAGE_TYPE_STATE_DIFF
	case *pb.DashStreamMessage_TokenChunk:
		return pb.MessageType_MESSAGE_TYPE_TOKEN_CHUNK
	case *pb.DashStreamMessage_ToolExecution:
		return pb.MessageType_MESSAGE_TYPE_TOOL_EXECUTION
	case *pb.DashStreamMessage_Checkpoint:
		return pb.MessageType_MESSAGE_TYPE_CHECKPOINT
	case *pb.DashStreamMessage_Metrics:
		return pb.MessageType_MESSAGE_TYPE_METRICS
	case *pb.DashStreamMessage_Error:
		return pb.MessageType_MESSAGE_TYPE_ERROR
	case *pb.DashStreamMessage_EventBatch:
		return pb.MessageType_MESSAGE_TYPE_EVENT_BATCH
	case *pb.DashStreamMessage_ExecutionTrace:
		return pb.MessageType_MESSAGE_TYPE_EXECUTION_TRACE
	}
	return pb.MessageType_MESSAGE_TYPE_UNSPECIFIED
}

// HeaderOf returns the header of whatever m carries, or nil. The header of an
// EventBatch is that of the envelope: it is unsequenced, and the headers of
// the events in it are the authoritative ones.
func HeaderOf(m *pb.DashStreamMessage) *pb.Header {
	if h := headerField(m); h != nil {
		return *h
	}
	return nil
}

// SetHeader puts h on whatever m carries and reports whether m carries
// anything.
func SetHeader(m *pb.DashStreamMessage, h *pb.Header) bool {
	field := headerField(m)
	if field == nil {
		return false
	}
	*field = h
	return true
}

// headerField returns where m keeps its header, or nil if m carries nothing.
func headerField(m *pb.DashStreamMessage) **pb.Header {
	switch w := m.GetMessage().(type) {
	case *pb.DashStreamMessage_Event:
		if w != nil && w.Event != nil {
			return &w.Event.Header
		}
	case *pb.DashStreamMessage_StateDiff:
		if w != nil && w.StateDiff != nil {
			return &w.StateDiff.Header
		}
	case *pb.DashStreamMessage_TokenChunk:
		if w != nil && w.TokenChunk != nil {
			return &w.TokenChunk.Header
		}
	case *pb.DashStreamMessage_ToolExecution:
		if w != nil && w.ToolExecution != nil {
			return &w.ToolExecution.Header
		}
	case *pb.DashStreamMessage_Checkpoint:
		if w != nil && w.Checkpoint != nil {
			return &w.Checkpoint.Header
		}
	case *pb.DashStreamMessage_Metrics:
		if w != nil && w.Metrics != nil {
			return &w.Metrics.Header
		}
	case *pb.DashStreamMessage_Error:
		if w != nil && w.Error != nil {
			return &w.Error.Header
		}
	case *pb.DashStreamMessage_EventBatch:
		if w != nil && w.EventBatch != nil {
			return &w.EventBatch.Header
		}
	case *pb.DashStreamMessage_ExecutionTrace:
		if w != nil && w.ExecutionTrace != nil {
			return &w.ExecutionTrace.Header
		}
	}
	return nil
}

// batchEvents returns the events of a batch, nil for any other message.
func batchEvents(m *pb.DashStreamMessage) []*pb.Event {
	if w, ok := m.GetMessage().(*pb.DashStreamMessage_EventBatch); ok && w != nil {
		return w.EventBatch.GetEvents()
	}
	return nil
}
