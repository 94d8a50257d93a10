"""How well published weights do on ImageNet: where nothing else is known, a backbone that does better is tried first.

The figures of well-known networks, as timm measures them itself (``results/results-imagenet.csv`` in its repository).
"""

from __future__ import annotations

from collections.abc import Mapping

import timm

IMAGENET: Mapping[str, float] = {
    "tf_efficientnet_b3.ns_jft_in1k": 0.84056,
    "tf_efficientnetv2_s.in1k": 0.83900,
    "convnext_small.fb_in1k": 0.83700,
    "regnety_160.deit_in1k": 0.83690,
    "caformer_s18.sail_in1k": 0.83656,
    "swin_base_patch4_window7_224.ms_in1k": 0.83606,
    "convnextv2_tiny.fcmae_ft_in1k": 0.83464,
    "efficientnet_b4.ra2_in1k": 0.83414,
    "maxvit_tiny_tf_224.in1k": 0.83402,
    "swin_small_patch4_window7_224.ms_in1k": 0.83208,
    "deit3_small_patch16_224.fb_in22k_ft_in1k": 0.83074,
    "convnext_nano.in12k_ft_in1k": 0.82862,
    "resnet101.a1h_in1k": 0.82778,
    "regnety_032.ra_in1k": 0.82728,
    "convnext_tiny.fb_in1k": 0.82698,
    "davit_tiny.msft_in1k": 0.82696,
    "efficientnetv2_rw_t.ra2_in1k": 0.82350,
    "resnet101.a1_in1k": 0.82322,
    "efficientnet_b3.ra2_in1k": 0.82242,
    "pvt_v2_b2.in1k": 0.82086,
    "deit_base_patch16_224.fb_in1k": 0.81992,
    "wide_resnet50_2.tv2_in1k": 0.81606,
    "edgenext_small.usi_in1k": 0.81564,
    "tf_efficientnet_lite4.in1k": 0.81532,
    "convnext_nano.d1h_in1k": 0.81482,
    "resnet50d.a1_in1k": 0.81450,
    "vit_small_patch16_224.augreg_in21k_ft_in1k": 0.81384,
    "swin_tiny_patch4_window7_224.ms_in1k": 0.81376,
    "deit3_small_patch16_224.fb_in1k": 0.81370,
    "resnet50.a1_in1k": 0.81214,
    "mobilevitv2_200.cvnets_in1k": 0.81134,
    "convnextv2_pico.fcmae_ft_in1k": 0.81086,
    "resnet50.tv2_in1k": 0.80850,
    "resnet50.a2_in1k": 0.80772,
    "resnet50.a1h_in1k": 0.80676,
    "efficientnet_b2.ra_in1k": 0.80610,
    "convnext_pico.d1_in1k": 0.80414,
    "deit_small_patch16_224.fb_in1k": 0.79844,
    "tf_efficientnet_lite3.in1k": 0.79808,
    "convnextv2_femto.fcmae_ft_in1k": 0.79338,
    "vit_base_patch16_224.augreg_in1k": 0.79154,
    "convnext_tiny.fb_in22k_ft_in1k": 0.78898,
    "efficientnet_b1.ft_in1k": 0.78800,
    "convnext_femto.d1_in1k": 0.78716,
    "resnet34d.ra2_in1k": 0.78436,
    "mobilevit_s.cvnets_in1k": 0.78312,
    "mobilevitv2_100.cvnets_in1k": 0.78076,
    "resnet34.a1_in1k": 0.77918,
    "rexnet_100.nav_in1k": 0.77862,
    "convnextv2_atto.fcmae_ft_in1k": 0.77760,
    "efficientnet_b0.ra_in1k": 0.77694,
    "tf_efficientnet_lite2.in1k": 0.77464,
    "convnext_atto.d2_in1k": 0.77008,
    "tf_efficientnet_lite1.in1k": 0.76644,
    "tf_efficientnet_b0.in1k": 0.76532,
    "densenet121.ra_in1k": 0.76500,
    "resnet26.bt_in1k": 0.76366,
    "resnet50.tv_in1k": 0.76130,
    "mobilenetv3_large_100.ra_in1k": 0.75766,
    "regnety_004.tv2_in1k": 0.75598,
    "efficientnet_lite0.ra_in1k": 0.75480,
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k": 0.75454,
    "tf_efficientnet_lite0.in1k": 0.74830,
    "mnasnet_100.rmsp_in1k": 0.74650,
    "ghostnet_100.in1k": 0.73982,
    "resnet18d.ra2_in1k": 0.73794,
    "resnet18.fb_swsl_ig1b_ft_in1k": 0.73282,
    "resnet18.a1_in1k": 0.73158,
    "mobilenetv2_100.ra_in1k": 0.72976,
    "deit_tiny_patch16_224.fb_in1k": 0.72172,
    "lcnet_100.ra2_in1k": 0.72096,
    "resnet18.tv_in1k": 0.69760,
    "lcnet_075.ra2_in1k": 0.68782,
    "resnet10t.c3_in1k": 0.68358,
    "mobilenetv3_small_100.lamb_in1k": 0.67656,
    "lcnet_050.ra2_in1k": 0.63120,
    "mobilenetv3_small_050.lamb_in1k": 0.57910,
}
"""Top-1 accuracy on ImageNet's validation images by architecture and tag."""


def imagenet_score(name: str) -> float | None:
    """The accuracy of the weights that a name stands for, 0 to 1; None where it is not known.

    Args:
        name: The architecture; without a tag, timm's default one is meant.
    """
    published = timm.get_pretrained_cfg(name)
    tag = published.tag if published is not None else None
    return IMAGENET.get(f"{name.partition('.')[0]}.{tag}")
