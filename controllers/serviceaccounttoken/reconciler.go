package serviceaccounttoken

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// Name is the controller's name in logs and metrics.
const Name = "serviceaccount-token-controller"

// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;update;delete
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get;list;watch;update

// Reconciler fills and deletes service account token Secrets.
type Reconciler struct {
	Client client.Client
	// Live reads past the cache: a token is only deleted when the API server
	// itself says that the account is gone.
	Live client.Reader
	// SigningKey signs tokens; the API server knows its public part.
	SigningKey crypto.Signer
	// RootCA is the PEM bundle for the Secrets' ca.crt; empty: none is written.
	RootCA []byte

	secrets client.Reader
	signer  *signer
}

// SetupWithManager starts a turn for every token Secret that changes, and for
// those of a service account that comes, goes or is replaced.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.SigningKey == nil {
		return errors.New("sign service account tokens: no key is given")
	}
	signer, err := newSigner(r.SigningKey)
	if err != nil {
		return err
	}
	r.signer = signer
	secrets, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(),
		Scheme:     mgr.GetScheme(),
		Mapper:     mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {Field: fields.OneTermEqualSelector("type", string(corev1.SecretTypeServiceAccountToken))},
		},
	})
	if err != nil {
		return fmt.Errorf("watch service account token secrets: %w", err)
	}
	if err := mgr.Add(secrets); err != nil {
		return err
	}
	r.secrets = secrets
	if r.Live == nil {
		r.Live = mgr.GetAPIReader()
	}
	comesOrGoes := predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() },
	}
	return turn.NewController(mgr).
		Named(Name).
		WatchesRawSource(source.Kind(secrets, &corev1.Secret{}, &handler.TypedEnqueueRequestForObject[*corev1.Secret]{})).
		Watches(&corev1.ServiceAccount{}, handler.EnqueueRequestsFromMapFunc(r.secretsOf), builder.WithPredicates(comesOrGoes)).
		Complete(r)
}

// secretsOf lists the token Secrets that name an account.
func (r *Reconciler) secretsOf(ctx context.Context, account client.Object) []reconcile.Request {
	list := &corev1.SecretList{}
	if err := r.secrets.List(ctx, list, client.InNamespace(account.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list service account tokens")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if list.Items[i].Annotations[corev1.ServiceAccountNameKey] == account.GetName() {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}

// Reconcile fills or deletes one Secret, or forgets one that is gone.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	secret := &corev1.Secret{}
	if err := r.secrets.Get(ctx, req.NamespacedName, secret); err != nil {
		if apierrors.IsNotFound(err) {
			err = r.dropReferences(ctx, req.NamespacedName)
		}
		return ctrl.Result{}, err
	}
	if !secret.DeletionTimestamp.IsZero() || secret.Annotations[corev1.ServiceAccountNameKey] == "" {
		return ctrl.Result{}, nil
	}
	account, err := r.account(ctx, secret)
	if err != nil {
		return ctrl.Result{}, err
	}
	if account == nil {
		err := r.Client.Delete(ctx, secret, client.Preconditions{UID: ptr.To(secret.UID)})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return ctrl.Result{}, fmt.Errorf("delete token %s of a service account that is gone: %w", req.NamespacedName, err)
		}
		ctrl.LoggerFrom(ctx).Info("Deleted the token of a service account that is gone")
		return ctrl.Result{}, nil
	}
	filled, err := plan(secret, account, r.RootCA, r.signer.sign)
	if err != nil || filled == nil {
		return ctrl.Result{}, err
	}
	if err := r.Client.Update(ctx, filled); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return ctrl.Result{}, fmt.Errorf("write token %s: %w", req.NamespacedName, err)
	}
	return ctrl.Result{}, nil // after a conflict the other writer's event starts the next turn
}

// account returns the service account that the Secret is for, nil when it does
// not exist (any more).
func (r *Reconciler) account(ctx context.Context, secret *corev1.Secret) (*corev1.ServiceAccount, error) {
	key := client.ObjectKey{Namespace: secret.Namespace, Name: secret.Annotations[corev1.ServiceAccountNameKey]}
	for _, reader := range []client.Reader{r.Client, r.Live} {
		account := &corev1.ServiceAccount{}
		err := reader.Get(ctx, key, account)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, fmt.Errorf("get service account %s: %w", key, err)
		case isFor(secret, account.UID):
			return account, nil
		}
	}
	return nil, nil
}

// dropReferences takes a deleted token out of the list of the accounts that
// name it. Only names of token Secrets get here.
func (r *Reconciler) dropReferences(ctx context.Context, secret types.NamespacedName) error {
	accounts := &corev1.ServiceAccountList{}
	if err := r.Client.List(ctx, accounts, client.InNamespace(secret.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list service accounts: %w", err)
	}
	names := func(reference corev1.ObjectReference) bool { return reference.Name == secret.Name }
	var errs []error
	for i := range accounts.Items {
		if !slices.ContainsFunc(accounts.Items[i].Secrets, names) {
			continue
		}
		changed := accounts.Items[i].DeepCopy()
		changed.Secrets = slices.DeleteFunc(changed.Secrets, names)
		if err := r.Client.Update(ctx, changed); client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("remove secret %s from service account %s: %w", secret, changed.Name, err))
		}
	}
	return errors.Join(errs...)
}

// isFor tells whether the Secret is for the account with this UID; a Secret
// without the UID annotation is for any of the name.
func isFor(secret *corev1.Secret, uid types.UID) bool {
	wanted := secret.Annotations[corev1.ServiceAccountUIDKey]
	return wanted == "" || wanted == string(uid)
}

// plan returns the Secret with all that is missing, nil when it is complete. A
// token that is there is kept, whatever it says.
func plan(secret *corev1.Secret, account *corev1.ServiceAccount, rootCA []byte, sign func(jwt.MapClaims) (string, error)) (*corev1.Secret, error) {
	staleCA := len(rootCA) > 0 && string(secret.Data[corev1.ServiceAccountRootCAKey]) != string(rootCA)
	noNamespace := len(secret.Data[corev1.ServiceAccountNamespaceKey]) == 0
	noToken := len(secret.Data[corev1.ServiceAccountTokenKey]) == 0
	if !staleCA && !noNamespace && !noToken {
		return nil, nil
	}
	filled := secret.DeepCopy()
	if filled.Data == nil {
		filled.Data = map[string][]byte{}
	}
	if staleCA {
		filled.Data[corev1.ServiceAccountRootCAKey] = rootCA
	}
	if noNamespace {
		filled.Data[corev1.ServiceAccountNamespaceKey] = []byte(secret.Namespace)
	}
	if noToken {
		token, err := sign(claims(account, secret))
		if err != nil {
			return nil, fmt.Errorf("sign token %s/%s: %w", secret.Namespace, secret.Name, err)
		}
		filled.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	}
	filled.Annotations[corev1.ServiceAccountNameKey] = account.Name
	filled.Annotations[corev1.ServiceAccountUIDKey] = string(account.UID)
	return filled, nil
}
