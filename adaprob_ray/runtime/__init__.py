"""Who runs the cells: Ray Tune or this process. Only here are Ray and TensorBoard imported."""
