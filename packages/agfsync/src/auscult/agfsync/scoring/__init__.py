"""Stage 4: scores of every picture by a VQA judge, CLIP and an aesthetic measure."""
