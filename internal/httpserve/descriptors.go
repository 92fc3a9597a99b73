package httpserve

// keptDescriptors are left to others at least, where there are that many: the
// embedded broker has its log, its index and a socket for each producer, and a
// Kafka client one for each broker.
const keptDescriptors = 1024

// descriptorShare returns how many connections a server may have of the process's
// file descriptors; 0: as many as it likes.
func descriptorShare() int { return shareOf(descriptorLimit()) }

func shareOf(limit uint64) int {
	if limit == 0 || limit > 1<<30 {
		return 0
	}
	return int(max(1, limit-min(limit/2, keptDescriptors)))
}
