"""What the tests of training train: a tiny network on a few digits."""

TRAIN = [
    *("data=digits", "data.n_test=100", "encoder=timm", "encoder.model=test_resnet", "encoder.weights=none"),
    *("embed.engine=torch", "measure.max_queries=20", "measure.passes=1", "logger=[]", "search=[exact]"),
    *("head=mlp", "head.out=16", "sampler.classes=3", "sampler.per_class=4", "sampler.batches=12", "trainer.epochs=2"),
    *(
        "optimizer.backbone_lr=0.002",
        "optimizer.proxy_lr=0.005",
        "stage=[random,trained]",
        "metric=[hit_rate,map_at_r]",
    ),
    *("trainer.freeze_batch_norm=false", "augment=none"),
]
