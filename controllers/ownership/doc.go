// Package ownership finds the children of a controlling object and takes
// them over or lets them go as their labels change.
//
// A child belongs to the object that its controller reference names by UID. An
// orphan that matches an object's selector is adopted by it; a child that no
// longer matches is released. The field index that [Index] adds makes both
// lists a look-up.
//
// Writes metadata.ownerReferences of children. Start at [Plan].
package ownership
