package sdk

import (
	"time"

	"github.com/alphaonedev/federation/sdk/quorum"
)

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

// The content types of answers and pages.
const (
	MediaAnswer = mediaAnswer
	MediaPage   = mediaPage
)

// AnswerWith encodes an answer to as many messages as there are acks.
func AnswerWith(acks ...*quorum.Ack) ([]byte, error) {
	replies := make([]wireReply, len(acks))
	for i, a := range acks {
		replies[i] = wireReply{state: stateAcked, ack: a}
	}
	return encodeAnswer(replies)
}

// PageWith encodes a page.
func PageWith(next string, more bool, messages ...Message) []byte {
	letters := make([]*letter, len(messages))
	for i, m := range messages {
		letters[i] = newLetter(m, "", time.Now())
	}
	return encodePage(letters, next, more)
}
