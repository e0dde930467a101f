package rabbitmq

import "headgate.example/lib/queue"

// QueueNames lists every queue that topics may have.
func QueueNames(prefix string, topics ...string) []string {
	n := names{prefix}
	var list []string
	for _, topic := range topics {
		for _, t := range []string{topic, queue.DeadTopic(topic)} {
			list = append(list, n.queue(t))
			for _, d := range delays() {
				list = append(list, n.queue(delayKey(t, d)))
			}
		}
	}
	return list
}

// SetBlocked plays the broker's word that it takes no messages.
func SetBlocked(q *Queue, reason string) { q.publisher.setBlocked(reason) }

// Declaring tells whether a declaration is under way on the publishing connection.
func Declaring(q *Queue) bool {
	top := publishing(q)
	if !top.declaring.TryLock() {
		return true
	}
	top.declaring.Unlock()
	return false
}

// Forget plays a return for a topic.
func Forget(q *Queue, topic string) { publishing(q).forget(topic) }

func publishing(q *Queue) *topology {
	q.publisher.mu.Lock()
	defer q.publisher.mu.Unlock()
	return q.publisher.top
}
