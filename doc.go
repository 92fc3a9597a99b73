// Package dashstream sends what an AI agent does, as it does it, through Kafka to the people who watch it.
//
//	func agent(ctx context.Context, state map[string]any) (err error) {
//		p, err := dashstream.New(dashstream.FromEnv()) // one for the process
//		if err != nil {
//			return err
//		}
//		defer func() {
//			// Not ctx: what was emitted should arrive also when it has ended. Close has a deadline of its own, and its error
//			// says what did not arrive and why. Log it instead where lost telemetry must not fail the program.
//			err = errors.Join(err, p.Close(context.WithoutCancel(ctx)))
//		}()
//
//		run := p.StartRun(ctx, dashstream.RunSpec{ThreadID: "order-17", Graph: dashstream.Graph{Name: "support"}, InitialState: state})
//		defer run.End(&err)
//
//		node := run.Node("plan")
//		defer node.Done(&err) // like run.End, this also sees a panic
//		llm := node.LLM("gpt-5", "openai")
//		llm.Token("Let me ")
//		llm.End(dashstream.Usage{PromptTokens: 812, CompletionTokens: 94})
//		state["plan"] = "look up the order"
//		run.State(state)
//		return nil
//	}
//
// Deferred directly, [Run.End] and [Node.Done] also see a panic, and show it as what it is: NODE_ERROR, GRAPH_ERROR and an
// Error with the stack. A node that ends before its function does is ended by [Node.End].
//
// A [Producer] belongs to the process. A [Run] is one execution of a graph; it has nodes, they have calls of models
// ([LLM]) and tools ([Tool]). Whatever has no method of its own goes through [Run.Event] and [Producer.Send].
//
// # It never stands in the way
//
// No call waits for Kafka, and telemetry that fails is no error of the program: what is lost is counted ([Stats]) and
// logged now and then. Methods on a nil Producer's nil Run do nothing, so that code need not ask whether telemetry is on.
// An event costs about a microsecond on the caller's goroutine. Encoding, redaction and compression happen on one other
// goroutine; only values that the caller might change, such as a state or the arguments of a tool, are encoded at the
// call.
//
// # Order
//
// A thread (RunSpec.ThreadID) is one ordered stream of all its messages. Each message gets the next sequence of its
// thread, from 1, in the same step in which it gets its place in the queue, and there is one way from the queue to Kafka,
// so the log has the sequences of a thread rising. The thread's id is the key of its records: every client that
// partitions as Kafka's own does agrees on the partition. A message that is lost leaves a gap in the sequences; no
// sequence is used twice. A process that starts again, or a thread that was idle and forgotten
// ([WithMaxIdleThreads]), counts from 1 under a new epoch, see [EpochHeader]. A thread with an open run, or with messages
// in flight, is never forgotten.
//
// # When there is no room
//
// The queue is bounded in bytes of memory ([WithQueueBytes]). When it is full, a message makes room for itself by
// removing the oldest of the less important ones, else it is dropped itself:
//
//  1. least important: tokens, and the progress, thoughts and substeps of nodes
//  2. other messages
//  3. state: GRAPH_START, diffs, checkpoints
//  4. most important: GRAPH_END and GRAPH_ERROR
//
// After a message that carried state was lost, in whatever way, the next state of its thread is sent whole; at the latest
// before the run ends.
//
// # State
//
// [Run.State] takes the whole state each time. The first is sent whole, or in GRAPH_START, the following as JSON Patch
// (RFC 6902) where that is smaller, and every so many ([WithCheckpointEvery]) are followed by a Checkpoint. All state is
// in the canonical form of RFC 8785, and the hash of a diff is the SHA-256 of the state after it in that form: GRAPH_START
// and checkpoints say so with hash=jcs. Numbers keep all their digits. RFC 8785 knows only 64-bit floats; a state with
// another number is sent without a hash, since none is better than a wrong one. base_checkpoint_id is the last checkpoint
// that a diff builds on; it is empty where the chain began with a whole state instead. A state that cannot be sent is
// reported by an Error message with the code state_unavailable and the reason, and the next one is whole.
//
// # Secrets
//
// Everything that leaves is searched for secrets, unless that is turned off ([WithRedaction], DASHFLOW_STATE_REDACT): all
// text and JSON of all messages, also of those given to Send. Found by their form are the keys of model providers,
// clouds, code hosts and services, tokens, private keys, and passwords in URLs; found by the name of their field are
// passwords and their like. See [WithRedactionPatterns] and [WithRedactionNames] for more. State is compared after it was
// redacted. The thread's id is kept, unless it holds a secret itself: then its SHA-256 is sent in its place.
//
// Not found are secrets without a form of their own under names that say nothing, secrets that are split (over messages,
// over the elements of a list), and most that are encoded; those that are found encoded are escapes of URLs and quotes,
// private keys in base64, and the user:password of Basic. Passwords in sentences are found as far as they look like one.
// docs/producer.md has the list. The chunks of one model call are
// searched as one text, as [LLM.Token] says.
//
// # Sizes
//
// A message is at most 1 MiB as it is framed, an attribute at most 500 KiB. What is larger is replaced by its SHA-256, its
// length and its beginning. State is never cut: it is sent whole, or reported as unavailable. Attributes nest up to 24
// levels: deeper JSON is sent as text, deeper groups are cut. An event has up to 65,536 values; what is beyond, or does not
// fit in the message, is left out, and the attribute dashstream_truncated says how much.
//
// # The end
//
// A run ends exactly once, with GRAPH_END or GRAPH_ERROR: by [Run.End], which also sees a panic; by Close, if it is still
// open; or after [WithRunIdleTimeout] without a message, unless it waits for a human. Of a process that is killed,
// nothing comes any more; readers see that by the silence.
//
// [Producer.Flush] and [Producer.Close] wait for outcomes, with a deadline, and say what has not arrived, and why: see
// [IncompleteError]. At every moment,
// for each type of message, emitted = acknowledged + dropped + failed + in flight. A message whose outcome is not known
// counts as failed; it is never sent again by this package, so a reader sees it once or not at all. The Kafka client's own
// retries are idempotent.
package dashstream
