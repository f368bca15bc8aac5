package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
)

const (
	provisionerName      = "quorate.dev/local"
	selectedNode         = "volume.kubernetes.io/selected-node"
	provisionedBy        = "pv.kubernetes.io/provisioned-by"
	volumeResyncInterval = 5 * time.Minute
)

// What the queue holds: the name of a volume, or the namespace and name of a claim.
type volumeItem struct {
	claimNamespace string
	name           string
}

// provisioner makes a directory for every claim of our storage classes, on the node
// that the scheduler chose, and removes it when a released volume's policy says so.
// All nodes share one machine, so one provisioner serves the directories of them all.
type provisioner struct {
	root    string
	client  kubernetes.Interface
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	nodes   corelisters.NodeLister
	classes storagelisters.StorageClassLister
	queue   workqueue.TypedRateLimitingInterface[volumeItem]
}

func volumes(args []string) error {
	flags := flag.NewFlagSet("quorate-volumes", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "credentials")
	root := flags.String("root", "", "folder that holds one folder per node")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	config.UserAgent = "quorate-volumes"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, volumeResyncInterval)
	core := factory.Core().V1()
	p := &provisioner{
		root:    *root,
		client:  client,
		claims:  core.PersistentVolumeClaims().Lister(),
		volumes: core.PersistentVolumes().Lister(),
		nodes:   core.Nodes().Lister(),
		classes: factory.Storage().V1().StorageClasses().Lister(),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[volumeItem](
				200*time.Millisecond, 10*time.Second)),
	}
	for _, informer := range []cache.SharedIndexInformer{
		core.PersistentVolumeClaims().Informer(), core.PersistentVolumes().Informer(),
	} {
		handlers := cache.ResourceEventHandlerFuncs{
			AddFunc:    p.enqueue,
			UpdateFunc: func(_, object any) { p.enqueue(object) },
		}
		if _, err := informer.AddEventHandler(handlers); err != nil {
			return err
		}
	}
	ctx := context.Background()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for {
		item, closed := p.queue.Get()
		if closed {
			return errors.New("the queue was closed")
		}
		if err := p.reconcile(ctx, item); err != nil {
			fmt.Fprintf(os.Stderr, "%s/%s: %v\n", item.claimNamespace, item.name, err)
			p.queue.AddRateLimited(item)
		} else {
			p.queue.Forget(item)
		}
		p.queue.Done(item)
	}
}

func (p *provisioner) enqueue(object any) {
	switch o := object.(type) {
	case *v1.PersistentVolumeClaim:
		p.queue.Add(volumeItem{o.Namespace, o.Name})
	case *v1.PersistentVolume:
		p.queue.Add(volumeItem{"", o.Name})
	}
}

func (p *provisioner) reconcile(ctx context.Context, item volumeItem) error {
	if item.claimNamespace == "" {
		volume, err := p.volumes.Get(item.name)
		if apierrors.IsNotFound(err) {
			return nil
		} else if err != nil {
			return err
		}
		return p.reclaim(ctx, volume)
	}
	claim, err := p.claims.PersistentVolumeClaims(item.claimNamespace).Get(item.name)
	if apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	return p.provision(ctx, claim)
}

func (p *provisioner) provision(ctx context.Context, claim *v1.PersistentVolumeClaim) error {
	node := claim.Annotations[selectedNode]
	if claim.DeletionTimestamp != nil || claim.Spec.VolumeName != "" || node == "" ||
		claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := p.classes.Get(*claim.Spec.StorageClassName)
	if apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	if class.Provisioner != provisionerName {
		return nil
	}
	if _, err := p.nodes.Get(node); apierrors.IsNotFound(err) {
		return p.reschedule(ctx, claim)
	}
	if claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode != v1.PersistentVolumeFilesystem {
		return errors.New("only file system volumes can be made")
	}
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(p.root, node, "volumes", name)
	// Any user may write: pods that run without root and without an fsGroup need it.
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	_, err = p.client.CoreV1().PersistentVolumes().Create(
		ctx, localVolume(name, path, node, claim, class), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// reschedule lets the scheduler choose again when the chosen node is gone.
func (p *provisioner) reschedule(ctx context.Context, claim *v1.PersistentVolumeClaim) error {
	changed := claim.DeepCopy()
	delete(changed.Annotations, selectedNode)
	_, err := p.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(
		ctx, changed, metav1.UpdateOptions{})
	return err
}

func localVolume(
	name, path, node string, claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass,
) *v1.PersistentVolume {
	policy := v1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	mode := v1.PersistentVolumeFilesystem
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{provisionedBy: provisionerName},
		},
		Spec: v1.PersistentVolumeSpec{
			Capacity: v1.ResourceList{
				v1.ResourceStorage: claim.Spec.Resources.Requests[v1.ResourceStorage],
			},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              class.Name,
			VolumeMode:                    &mode,
			ClaimRef: &v1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: v1.PersistentVolumeSource{
				Local: &v1.LocalVolumeSource{Path: path},
			},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{
				NodeSelectorTerms: []v1.NodeSelectorTerm{{
					MatchExpressions: []v1.NodeSelectorRequirement{{
						Key:      v1.LabelHostname,
						Operator: v1.NodeSelectorOpIn,
						Values:   []string{node},
					}},
				}},
			}},
		},
	}
}

func (p *provisioner) reclaim(ctx context.Context, volume *v1.PersistentVolume) error {
	if volume.Annotations[provisionedBy] != provisionerName ||
		volume.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete ||
		volume.Status.Phase != v1.VolumeReleased || volume.Spec.Local == nil {
		return nil
	}
	path := filepath.Clean(volume.Spec.Local.Path)
	// The path is data that anybody who may write volumes could have set.
	if match, err := filepath.Match(filepath.Join(p.root, "*", "volumes", volume.Name), path); err != nil || !match {
		return fmt.Errorf("%s is not a volume of this provisioner", path)
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
