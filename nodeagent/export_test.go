package nodeagent

// PlanResize is pure, and nobody else's.
var PlanResize = planResize
