package file

import "sync"

// pulls is what those who watch the files have to know of pulls. A pull may see files of which nobody told, and which
// are by the next look again as they were: to tell of what is new since then is to tell of nothing. The zero value is
// ready, and safe for concurrent use.
type pulls struct {
	mu       sync.Mutex
	watchers map[*told]bool
}

// told is what one who watches told of last. The mutex of pulls guards it, strayed apart.
type told struct {
	at      digest
	stray   bool          // a pull has seen other files since
	strayed chan struct{} // says so
}

func (p *pulls) join() *told {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watchers == nil {
		p.watchers = map[*told]bool{}
	}
	t := &told{strayed: make(chan struct{}, 1)}
	p.watchers[t] = true
	return t
}

func (p *pulls) leave(t *told) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watchers, t)
}

// tell notes what is told of, before it is.
func (p *pulls) tell(t *told, at digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.at, t.stray = at, false
}

// know reports whether all that pull know files as they are.
func (p *pulls) know(t *told, at digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return t.at == at && !t.stray
}

// saw notes which files a pull has seen.
func (p *pulls) saw(at digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := range p.watchers {
		if t.at == at || t.stray {
			continue
		}
		t.stray = true
		select {
		case t.strayed <- struct{}{}:
		default:
		}
	}
}
