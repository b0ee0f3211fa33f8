package sdk

import "time"

// BatchFrom encodes a batch as a node that calls itself sender does.
func BatchFrom(sender string, messages ...Message) []byte {
	letters := make([]*letter, len(messages))
	for i, m := range messages {
		letters[i] = newLetter(m, sender, time.Now())
	}
	return encodeBatch(letters, turn0)
}

// MediaBatch is the content type of a batch.
const MediaBatch = mediaBatch
