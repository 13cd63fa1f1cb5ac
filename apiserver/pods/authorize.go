package pods

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// mayCreate refuses a stream to who may only get it. A WebSocket begins by a
// GET, but what is done in a pod is no reading of it: as Kubernetes since 1.35
// (AuthorizePodWebsocketUpgradeCreatePermission), the right to create is needed
// whatever the method is.
func (d Deps) mayCreate(ctx context.Context) error {
	info, ok := request.RequestInfoFrom(ctx)
	if !ok {
		return apierrors.NewInternalError(errors.New("no request info in context"))
	}
	if info.Verb == "create" {
		return nil
	}
	attributes, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("error building authorizer attributes: %w", err))
	}
	decision, reason, err := d.Authorizer.Authorize(ctx, creation{attributes})
	if err != nil {
		return err
	}
	if decision != authorizer.DecisionAllow {
		return apierrors.NewForbidden(schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}, info.Name, errors.New(reason))
	}
	return nil
}

// creation is a request as if it were for creating.
type creation struct{ authorizer.Attributes }

// GetVerb implements authorizer.Attributes.
func (creation) GetVerb() string { return "create" }
