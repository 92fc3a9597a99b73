package embedded

import (
	"encoding/hex"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicIDVersion is the first version of Produce that says which topic by id alone.
const topicIDVersion = 13

// nameTopics gives each topic of a request that has ids alone a name of its own. kfake files its answers under the name
// and the partition: those to two topics of which it finds no name (both were deleted, as a producer that goes on learns
// by such an answer) fell together, and it took one that was not there. It replaces the name where it knows the id, and
// names are not in the answer.
func nameTopics(req *kmsg.ProduceRequest) {
	if req.Version < topicIDVersion {
		return
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		t.Topic = "id:" + hex.EncodeToString(t.TopicID[:]) // no topic's: they have no colon
	}
}
