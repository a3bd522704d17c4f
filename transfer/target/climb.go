package target

const (
	minWidth   = 1
	maxWidth   = 8
	startWidth = 2

	// gainWider is how much quicker a wider setting must be to be kept. Each writer costs processor time of its own.
	gainWider = 1.10
	// lossNarrower is how much slower a narrower setting may be to be kept. Less than gainWider allows, or the width would
	// swing between two settings.
	lossNarrower = 0.97

	// restFirst and restMost are how many windows pass between two trials; the rest doubles each time nothing was gained.
	restFirst = 4
	restMost  = 128
)

// climber is the rule by which Width moves: pure, a rate in, a width out.
//
// A trial compares windows in the order before, trial, after: the rate on either side is that of the old width, so a drift
// of the load (larger files, a busier disk) hits both alike. Trials alternate between wider and narrower.
type climber struct {
	width  int // in force for the coming window
	base   int // the width in use outside of trials
	step   int // +1 or -1, the direction of the trial to come or under way
	stage  stage
	rest   int // windows until the next trial
	pause  int // what rest starts at after a trial without gain
	before float64
	trial  float64
}

type stage uint8

const (
	stageRest   stage = iota // at base
	stageBefore              // measuring base
	stageTrial               // measuring the neighbour
	stageAfter               // measuring base again
)

func newClimber() climber {
	return climber{width: startWidth, base: startWidth, step: 1, rest: 1, pause: restFirst}
}

// observe takes the rate of the window that just ended, at width.
func (c *climber) observe(rate float64) {
	switch c.stage {
	case stageRest:
		if c.rest--; c.rest <= 0 {
			c.aim()
			c.stage = stageBefore
		}
	case stageBefore:
		c.before = rate
		c.stage, c.width = stageTrial, c.base+c.step
	case stageTrial:
		c.trial = rate
		c.stage, c.width = stageAfter, c.base
	case stageAfter:
		c.judge((c.before + rate) / 2)
	}
}

// aim turns the step around at the ends.
func (c *climber) aim() {
	if next := c.base + c.step; next < minWidth || next > maxWidth {
		c.step = -c.step
	}
}

// judge ends a trial: on a gain the same direction is tried again soon, else the other one after a while.
func (c *climber) judge(old float64) {
	need := gainWider
	if c.step < 0 {
		need = lossNarrower
	}
	c.stage = stageRest
	if c.trial >= old*need {
		c.base += c.step
		c.width, c.rest, c.pause = c.base, 1, restFirst
		return
	}
	c.step = -c.step
	c.rest = c.pause
	c.pause = min(c.pause*2, restMost)
}
