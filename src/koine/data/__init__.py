"""Real data sets as streams of examples: adapters that read published files and download nothing.

`DATA_SETS` is the list of them; `koine.data.examples(name, path, ...)` opens one. A new data set is a module with a
function that yields `AnnotatedExample`s, and a line here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from koine.errors import InputError

if TYPE_CHECKING:
    from koine.data.annotated import AnnotatedExample

__all__ = ["DATA_SETS", "DataSet", "examples"]


@dataclass(frozen=True)
class DataSet:
    """One data set that can be read.

    Attributes:
        name: what it is called by.
        title: what it is, for people.
        files: the published files that its folder must hold, beside the pictures.
        source: where its owners publish it; nothing is fetched from there.
        reader: `module:function` of the adapter; imported when it is first used.
    """

    name: str
    title: str
    files: str
    source: str
    reader: str

    def examples(self, path: str | os.PathLike[str], **options: Any) -> Iterator[AnnotatedExample]:
        """The data set's examples from a folder, in order; pictures are opened as their example comes.

        Args:
            path: the folder with annotations and pictures (or an annotation file; then name the pictures' folder
                with `images=...`).
            options: of the adapter, such as `split` or `images`; see its module.
        Raises:
            InputError: a missing file or field, or an option that the adapter doesn't have.
        """
        module, function = self.reader.split(":")
        read = getattr(import_module(module), function)
        known = [name for name in read.__annotations__ if name not in ("path", "return")]
        for option in options:
            if option not in known:
                raise InputError.unknown(f"option of the data set {self.name}", option, known)
        stream: Iterator[AnnotatedExample] = read(path, **options)
        return stream


_LISTED = (
    DataSet(
        "lvis-referring",
        "LVIS referring object classification: point, box or free form",
        "lvis_eval.jsonl, made by koine.data.lvis_builder from lvis_v1_val.json",
        "https://www.lvisdataset.org",
        "koine.data.lvis_referring:examples",
    ),
    DataSet(
        "refcoco",
        "RefCOCO, RefCOCO+ and RefCOCOg referring expressions",
        "refs(unc).p or refs(umd).p with instances.json, or MDETR's finetune_refcoco_<split>.json",
        "https://github.com/lichengunc/refer",
        "koine.data.refcoco:examples",
    ),
    DataSet(
        "flickr30k-entities",
        "Flickr30k Entities: phrases of captions and their boxes",
        "Sentences, Annotations and <split>.txt, optionally MDETR's final_flickr_mergedGT_<split>.json",
        "https://github.com/BryanPlummer/flickr30k_entities",
        "koine.data.flickr30k_entities:examples",
    ),
    DataSet(
        "grounded-captions",
        "Flickr30k captions whose object words have boxes",
        "GVD's flickr30k_cleaned_class.json, or the files of flickr30k-entities",
        "https://github.com/facebookresearch/grounded-video-description",
        "koine.data.grounded_captions:examples",
    ),
    DataSet(
        "pope",
        "POPE: is there such an object in the picture?",
        "coco_pope_random.json, coco_pope_popular.json, coco_pope_adversarial.json",
        "https://github.com/AoiDragon/POPE",
        "koine.data.pope:examples",
    ),
    DataSet(
        "ferret-bench",
        "Ferret-Bench: questions about regions, judged by a language model",
        "the folder ferret_gpt4_data: refer_caption, refer_reason, ground_conv, rule.json",
        "https://github.com/apple/ml-ferret",
        "koine.data.ferret_bench:examples",
    ),
    DataSet(
        "coco-captions",
        "COCO captions",
        "captions_<split>.json",
        "https://cocodataset.org",
        "koine.data.coco:caption_examples",
    ),
    DataSet(
        "coco-objects",
        "COCO objects with masks: what is this?",
        "instances_<split>.json",
        "https://cocodataset.org",
        "koine.data.coco:object_examples",
    ),
    DataSet(
        "objects365",
        "Objects365: where are the things of a class, and is the class there at all?",
        "zhiyuan_objv2_<split>.json or objects365_<split>.json",
        "https://www.objects365.org",
        "koine.data.objects365:examples",
    ),
    DataSet(
        "visual-genome",
        "Visual Genome: objects, relationships, region descriptions",
        "objects.json, relationships.json, region_descriptions.json",
        "https://homes.cs.washington.edu/~ranjay/visualgenome",
        "koine.data.visual_genome:examples",
    ),
    DataSet(
        "llava",
        "LLaVA's conversations about pictures",
        "llava_instruct_150k.json or another file of that form",
        "https://huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K",
        "koine.data.conversations:llava_examples",
    ),
    DataSet(
        "grit",
        "Ferret's training records: conversations with boxes and masks",
        "JSON arrays of records with image_w, image_h, conversations, box_x1y1x2y2 and optionally masks",
        "https://github.com/apple/ml-ferret (the format; its data were never released)",
        "koine.data.grit:examples",
    ),
    DataSet(
        "vqav2",
        "VQAv2: open questions about COCO's pictures",
        "v2_OpenEnded_mscoco_<split>_questions.json, v2_mscoco_<split>_annotations.json",
        "https://visualqa.org",
        "koine.data.vqav2:examples",
    ),
    DataSet(
        "nlvr2",
        "NLVR2: is a sentence true of two photographs?",
        "<split>.json",
        "https://lil.nlp.cornell.edu/nlvr",
        "koine.data.nlvr2:examples",
    ),
    DataSet(
        "nlvr",
        "NLVR: is a sentence true of a drawing?",
        "nlvr_<split>.parquet: identifier, sentence, label, images, made from the published folders",
        "https://lil.nlp.cornell.edu/nlvr",
        "koine.data.nlvr:examples",
    ),
    DataSet(
        "coco-karpathy",
        "COCO captions in Karpathy's division",
        "dataset_coco.json",
        "https://cs.stanford.edu/people/karpathy/deepimagesent",
        "koine.data.karpathy:coco_captions",
    ),
    DataSet(
        "flickr30k-karpathy",
        "Flickr30k captions in Karpathy's division",
        "dataset_flickr30k.json",
        "https://cs.stanford.edu/people/karpathy/deepimagesent",
        "koine.data.karpathy:flickr30k_captions",
    ),
    DataSet(
        "coco-pairs",
        "COCO for retrieval: pictures with all their captions",
        "dataset_coco.json",
        "https://cs.stanford.edu/people/karpathy/deepimagesent",
        "koine.data.karpathy:coco_pairs",
    ),
    DataSet(
        "flickr30k-pairs",
        "Flickr30k for retrieval: pictures with all their captions",
        "dataset_flickr30k.json",
        "https://cs.stanford.edu/people/karpathy/deepimagesent",
        "koine.data.karpathy:flickr30k_pairs",
    ),
    DataSet(
        "imagenet",
        "ImageNet: what is it?",
        "<split>/ with a folder for each class, optionally LOC_synset_mapping.txt",
        "https://image-net.org",
        "koine.data.imagenet:examples",
    ),
    DataSet(
        "pictures",
        "Pictures alone, with or without classes: any folder, or an image data set of the hub",
        "pictures below it, or parquet files with a column image and perhaps label",
        "https://huggingface.co/datasets",
        "koine.data.image_folders:examples",
    ),
    DataSet(
        "sounds",
        "Sounds alone, with or without classes: any folder, or an audio data set of the hub",
        "sound files below it, or parquet files with a column audio and perhaps label",
        "https://huggingface.co/datasets",
        "koine.data.sound_folders:examples",
    ),
)

DATA_SETS: dict[str, DataSet] = {one.name: one for one in _LISTED}


def examples(name: str, path: str | os.PathLike[str], **options: Any) -> Iterator[AnnotatedExample]:
    """The examples of a data set by its name; see `DataSet.examples`.

    Raises:
        InputError: an unknown name, and as `DataSet.examples`.
    """
    if name not in DATA_SETS:
        raise InputError.unknown("data set", name, DATA_SETS)
    return DATA_SETS[name].examples(path, **options)
